"""Packaging: `pip install -c constraints.txt -e .` installs the three packages and the benchmarks."""

import pathlib
import re

import setuptools

HERE = pathlib.Path(__file__).parent
VERSION = re.search(r"^## (\d+\.\d+\.\d+)", (HERE / "CHANGELOG.md").read_text("utf-8"), re.M).group(1)

setuptools.setup(
    name="music-genre-tfrecords",
    version=VERSION,
    description="Music genre recognition with musically motivated CNNs: Apache Beam, TFRecords, tf.data, Keras.",
    long_description=(HERE / "README.md").read_text("utf-8"),
    long_description_content_type="text/markdown",
    license="Apache-2.0",
    python_requires=">=3.11,<3.13",
    packages=["beam_preprocess", "benchmarks", "tfrecords", "tools", "trainer", "trainer.models"],
    install_requires=[
        "absl-py",
        "apache-beam>=2.76",
        "google-crc32c",
        "keras>=3.13",
        "librosa>=0.11",
        "matplotlib",
        "numpy",
        "protobuf",
        "scipy",
        "soundfile",
        "soxr",
        "tensorboard",
        "tensorflow>=2.21,<2.22",
        "tensorflow-io>=0.37.1",
        "threadpoolctl",
    ],
    extras_require={
        "test": ["hypothesis", "mypy", "pytest", "pyyaml", "ruff"],
        "gcp": ["apache-beam[gcp]>=2.76"],
        "gpu": ["tensorflow[and-cuda]>=2.21,<2.22"],
        "jax": ["jax"],
    },
)
