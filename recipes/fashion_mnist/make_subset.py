"""Writes the small class-balanced subset of Fashion-MNIST that comes with the recipe, in the same idx format.

    python recipes/fashion_mnist/make_subset.py --data FOLDER

FOLDER holds the four idx `.gz` files of Fashion-MNIST (https://github.com/zalandoresearch/fashion-mnist). The same
arguments write the same bytes.
"""

from __future__ import annotations

import argparse
import gzip
import io
import struct
import sys
from pathlib import Path

import numpy as np
import numpy.typing as npt

from nncf_mcq.data.fashion_mnist import IDX_UNSIGNED_BYTE, read_labelled_images
from nncf_mcq.errors import NncfMcqError

CLASSES = 10
HERE = Path(__file__).resolve().parent


def choose_balanced(labels: npt.NDArray[np.uint8], count: int, seed: int) -> npt.NDArray[np.intp]:
    """Returns the sorted indices of `count` samples, the classes equally often or, for the first ones, once more."""
    generator = np.random.default_rng(seed)
    chosen = []
    for class_index in range(CLASSES):
        members = np.flatnonzero(labels == class_index)
        quota = count // CLASSES + (class_index < count % CLASSES)
        if quota > len(members):
            raise ValueError(f"{count} images need {quota} of class {class_index}, there are {len(members)}")
        chosen.append(generator.permutation(members)[:quota])
    return np.sort(np.concatenate(chosen))


def write_idx(path: Path, values: npt.NDArray[np.uint8]) -> None:
    """Writes a gzipped idx file; neither time nor name is stored, so that equal values give equal bytes."""
    header = struct.pack(f">HBB{values.ndim}I", 0, IDX_UNSIGNED_BYTE, values.ndim, *values.shape)
    buffer = io.BytesIO()
    with gzip.GzipFile(filename="", mode="wb", compresslevel=9, fileobj=buffer, mtime=0) as file:
        file.write(header + values.tobytes())
    path.write_bytes(buffer.getvalue())


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="folder with the four full idx .gz files")
    parser.add_argument("--output", type=Path, default=HERE / "data", help="folder to write (default: %(default)s)")
    parser.add_argument("--train", type=int, default=1024, help="training images (default: %(default)s)")
    parser.add_argument("--test", type=int, default=4000, help="test images (default: %(default)s)")
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    arguments.output.mkdir(parents=True, exist_ok=True)
    try:
        for subset, count in (("train", arguments.train), ("t10k", arguments.test)):
            images, labels = read_labelled_images(arguments.data, subset)
            chosen = choose_balanced(labels, count, arguments.seed)
            write_idx(arguments.output / f"{subset}-images-idx3-ubyte.gz", images[chosen])
            write_idx(arguments.output / f"{subset}-labels-idx1-ubyte.gz", labels[chosen])
            print(f"{subset}: {len(chosen)} of {len(labels)} images")
    except (NncfMcqError, ValueError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
