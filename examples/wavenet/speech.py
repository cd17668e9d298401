"""Recordings of one human voice: fetched, unpacked, encoded, and split by recording.

    python speech.py                     # Debian's festvox-ru: 620 sentences, 1.66 hours, 16 kHz (179 MB to download)
    python speech.py --voice asterisk    # the smaller choice: 568 telephone prompts, 0.42 hours, 8 kHz (23 MB)
    python speech.py --deb FILE          # a package that was downloaded elsewhere

Nothing is installed: the package is unpacked into a temporary directory. What remains is `data/VOICE-SPLIT.npy`, every
sample as one byte of the mu-law, and `data/VOICE.json`, which says where each recording begins.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import shutil
import subprocess
import sys
import tempfile
import wave
from dataclasses import dataclass
from pathlib import Path

import numpy as np

DATA = Path(__file__).parent / "data"
LEVELS = 256  # of the mu-law; the network predicts one of them
SPLITS = {"train": 0.90, "validation": 0.05, "test": 0.05}


@dataclass(frozen=True, slots=True, kw_only=True)
class Voice:
    """The source of a voice: a Debian package, and its folder with one .wav per recording."""

    package: str
    folder: str
    speaker: str


VOICES = {
    "festvox": Voice(
        package="festvox-ru",
        folder="usr/share/festival/voices/russian/msu_ru_nsh_clunits/wav",
        speaker="one man reads Russian sentences; BSD-like licence",
    ),
    "asterisk": Voice(
        package="asterisk-core-sounds-en-wav",
        folder="usr/share/asterisk/sounds/en_US_f_Allison",
        speaker="one woman speaks the prompts of a telephone exchange; CC-BY-SA-3.0",
    ),
}


class NoDataError(Exception):
    """The recordings are not available; the message gives the reason and a remedy."""


def encode(samples: np.ndarray) -> np.ndarray:
    """Samples in [-1, 1] as one of 256 levels each, denser near zero, as the ear hears (ITU-T G.711's curve)."""
    mu = LEVELS - 1
    squeezed = np.sign(samples) * np.log1p(mu * np.abs(samples)) / np.log1p(mu)
    return ((squeezed + 1) / 2 * mu + 0.5).astype(np.uint8)


def decode(codes: np.ndarray) -> np.ndarray:
    """The samples in [-1, 1] that the levels stand for."""
    mu = LEVELS - 1
    squeezed = 2 * codes.astype(np.float32) / mu - 1
    return np.sign(squeezed) * np.expm1(np.abs(squeezed) * np.log1p(mu)) / mu


def read_wav(path: Path) -> tuple[int, np.ndarray]:
    """The rate, and the samples in [-1, 1], of a recording in 16 bits and one channel."""
    with wave.open(str(path), "rb") as file:
        if (file.getsampwidth(), file.getnchannels()) != (2, 1):
            raise ValueError(f"{path}: not 16 bits and one channel")
        samples = np.frombuffer(file.readframes(file.getnframes()), dtype="<i2")
        return file.getframerate(), samples.astype(np.float32) / 2**15


def write_wav(path: Path, rate: int, samples: np.ndarray) -> None:
    """Writes samples in [-1, 1] as 16 bits and one channel."""
    with wave.open(str(path), "wb") as file:
        file.setsampwidth(2)
        file.setnchannels(1)
        file.setframerate(rate)
        file.writeframes((np.clip(samples, -1, 1) * (2**15 - 1)).astype("<i2").tobytes())


@dataclass(frozen=True, slots=True, kw_only=True)
class Recordings:
    """One split of a voice.

    Args:
        codes: (samples,) mu-law levels of all recordings, one after the other; mapped, so that processes share it.
        starts: (recordings + 1,) where each begins, and where the last ends.
        rate: Samples a second.
    """

    codes: np.ndarray
    starts: np.ndarray
    rate: int

    def crops(self, rng: np.random.Generator, count: int, length: int) -> np.ndarray:
        """Draws (count, length) levels, each row from within one recording, uniform over all places where one fits."""
        rooms = np.maximum(np.diff(self.starts) - length + 1, 0)
        which = rng.choice(len(rooms), size=count, p=rooms / rooms.sum())
        begins = self.starts[which] + rng.integers(rooms[which])
        return np.stack([self.codes[begin : begin + length] for begin in begins])

    def middles(self, count: int, length: int) -> np.ndarray:
        """(count, length) levels from the middle of the first `count` recordings that are long enough: always the same."""
        lengths = np.diff(self.starts)
        long_enough = np.flatnonzero(lengths >= length)[:count]
        if len(long_enough) < count:
            raise ValueError(f"only {len(long_enough)} of {len(lengths)} recordings have {length} samples; {count} are wanted")
        begins = self.starts[long_enough] + (lengths[long_enough] - length) // 2
        return np.stack([self.codes[begin : begin + length] for begin in begins])


def load(voice: str, split: str) -> Recordings:
    """A split that `prepare` has written.

    Raises:
        NoDataError: There is none.
    """
    try:
        about = json.loads((DATA / f"{voice}.json").read_text(encoding="utf-8"))
        codes = np.load(DATA / f"{voice}-{split}.npy", mmap_mode="r")
    except FileNotFoundError as error:
        raise NoDataError(f"there are no recordings in {DATA}; fetch them: python speech.py --voice {voice}") from error
    return Recordings(codes=codes, starts=np.array(about["starts"][split]), rate=about["rate"])


def split_of(name: str) -> str:
    """The split of a recording. It follows from the name alone, so a recording never changes its split."""
    place = int.from_bytes(hashlib.sha256(name.encode()).digest()[:8], "big") / 2**64
    for split, share in SPLITS.items():
        if place < share:
            return split
        place -= share
    return "test"


def fetch(voice: Voice, into: Path) -> Path:
    """Downloads the Debian package of a voice, and returns its file.

    Raises:
        NoDataError: There is no apt here, or it finds no such package.
    """
    elsewhere = f"download it on another machine (packages.debian.org/{voice.package}), then: python speech.py --deb FILE"
    if shutil.which("apt-get") is None:
        raise NoDataError(f"{voice.package} is a Debian package, and there is no apt-get here; {elsewhere}")
    print(f"downloading {voice.package} ({voice.speaker})", flush=True)
    done = subprocess.run(["apt-get", "download", voice.package], cwd=into, capture_output=True, text=True)
    found = list(into.glob("*.deb"))
    if done.returncode or not found:
        why = (done.stderr.strip().splitlines() or ["no reason given"])[-1]
        raise NoDataError(f"apt-get could not download {voice.package} ({why}); `apt-get update` may help, or {elsewhere}")
    return found[0]


def unpack(package: Path, into: Path) -> None:
    """Unpacks a Debian package, installing nothing.

    Raises:
        NoDataError: It can't be unpacked.
    """
    if shutil.which("dpkg-deb") is None:
        raise NoDataError("dpkg-deb is missing, which unpacks the recordings; on other systems than Debian: the package `dpkg`")
    done = subprocess.run(["dpkg-deb", "-x", str(package.resolve()), str(into)], capture_output=True, text=True)
    if done.returncode:
        raise NoDataError(f"{package} can't be unpacked: {done.stderr.strip()}")


def write_splits(name: str, recordings: list[Path]) -> None:
    """Encodes recordings, and writes each split. The description is written last, when all files exist."""
    if not recordings:
        raise NoDataError(f"the package of {name} holds no recordings where they used to be: {VOICES[name].folder}")
    DATA.mkdir(exist_ok=True)
    about: dict[str, object] = {"rate": read_wav(recordings[0])[0]}
    starts = {}
    for split in SPLITS:
        parts = [encode(read_wav(path)[1]) for path in recordings if split_of(path.name) == split]
        np.save(DATA / f"{name}-{split}.npy", np.concatenate(parts))
        starts[split] = [0, *np.cumsum([len(part) for part in parts]).tolist()]
        seconds = starts[split][-1] / int(str(about["rate"]))
        print(f"{split:>10}: {len(parts)} recordings, {seconds:.0f} s", flush=True)
    (DATA / f"{name}.json").write_text(json.dumps({**about, "starts": starts}), encoding="utf-8")


def prepare(name: str, deb: Path | None = None) -> None:
    """Prepares the splits of a voice, unless they exist.

    Raises:
        NoDataError: They are not, and can't be had.
    """
    if (DATA / f"{name}.json").exists():
        return
    with tempfile.TemporaryDirectory() as scratch:
        package = deb or fetch(VOICES[name], Path(scratch))
        unpack(package, Path(scratch) / "unpacked")
        write_splits(name, sorted((Path(scratch) / "unpacked" / VOICES[name].folder).rglob("*.wav")))


def main() -> None:
    """Prepares a voice, or prints why it is not available."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--voice", choices=VOICES, default="festvox")
    parser.add_argument("--deb", type=Path, help="a package that was downloaded elsewhere")
    options = parser.parse_args()
    try:
        prepare(options.voice, options.deb)
    except NoDataError as error:
        sys.exit(str(error))


if __name__ == "__main__":
    main()
