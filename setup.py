"""Packaging: `pip install -c constraints.txt -e .` installs the packages; tools and benchmarks stay in the checkout."""

import pathlib
import re

import setuptools

HERE = pathlib.Path(__file__).parent
VERSION = re.search(r"^## (\d+\.\d+\.\d+)", (HERE / "CHANGELOG.md").read_text("utf-8"), re.M).group(1)
REQUIREMENTS = (HERE / "beam_preprocess/requirements.txt").read_text("utf-8").splitlines()

DOCS = ["mkdocs-material", "mkdocstrings[python]"]

setuptools.setup(
    name="music-genre-tfrecords",
    version=VERSION,
    description="Music genre recognition with musically motivated CNNs: Apache Beam, TFRecords, tf.data, Keras.",
    long_description=(HERE / "README.md").read_text("utf-8"),
    long_description_content_type="text/markdown",
    license="Apache-2.0",
    python_requires=">=3.11,<3.14",
    packages=setuptools.find_packages(include=["beam_predict*", "beam_preprocess*", "tfrecords*", "trainer*"]),
    package_data={
        "beam_predict": ["py.typed"],
        "beam_preprocess": ["py.typed"],
        "beam_preprocess.gtzan": ["data/*", "data/*/*"],
        "tfrecords": ["py.typed"],
        "trainer": ["py.typed"],
        "trainer.reports": ["templates/*"],
        "trainer.serving.web": ["page/*"],
    },
    install_requires=[
        *(line for line in REQUIREMENTS if not line.startswith("#")),
        "jinja2",
        "keras>=3.13",
        "matplotlib",
        "pillow",
        "prometheus_client",
        "pyarrow",
        "starlette",
        "tensorboard",
        "tensorflow>=2.21,<2.22",
        'tensorflow-io>=0.37.1; python_version < "3.13"',
        "uvicorn",
    ],
    extras_require={
        "test": [
            *DOCS,
            "apache-beam[gcp]",
            "flask-cors",
            "hypothesis",
            "jax",
            "moto[s3]",
            "mypy",
            "playwright",
            "pytest",
            "pytest-xdist",
            "pyyaml",
            "ruff",
            "scikit-learn",
            "tensorflow-datasets>=4.9.10",
        ],
        "docs": DOCS,
        "gcp": ["apache-beam[gcp]"],
        "gpu": ["tensorflow[and-cuda]>=2.21,<2.22"],
        "jax": ["jax"],
    },
)
