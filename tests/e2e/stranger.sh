#!/bin/sh
# A trainer that knows nothing of Python. Its weights are a number that grows with the quality of the learning rate;
# its checkpoint also says who wrote it, so that a test can follow every warm start by the bytes alone.
set -eu
weights=0 came_from=nothing steps_behind=0
if [ -n "${BROODLINE_RESTORE:-}" ]; then
    . "$BROODLINE_RESTORE/checkpoint.sh"
    came_from=$written_by steps_behind=$steps_done
fi
lr=$(sed 's/.*"lr": *\([^,}]*\).*/\1/' "$BROODLINE_PARAMS")
weights=$(awk -v w="$weights" -v lr="$lr" 'BEGIN { d = log(lr / 0.01); printf "%.9f", w + 1 / (1 + d * d) }')
end=$((BROODLINE_START + BROODLINE_STEPS))
printf 'weights=%s written_by=%s steps_done=%s\n' "$weights" "$BROODLINE_TRIAL" "$end" >"$BROODLINE_SAVE/checkpoint.sh"
printf '{"step": %s, "score": %s}\n' "$end" "$weights" >>"$BROODLINE_METRICS"
printf '%s %s %s %s %s %s %s\n' "$BROODLINE_TRIAL" "$BROODLINE_ATTEMPT" "$came_from" "$steps_behind" "$BROODLINE_START" "$lr" "$weights" >>"$STRANGER_LOG"
