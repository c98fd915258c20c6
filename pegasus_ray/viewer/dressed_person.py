"""Makes the avatar of a person who wears other people's attributes, or their own under mixed codes, ready to be drawn."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from torch import Tensor

from pegasus_ray.avatar.fields.avatar import Fields
from pegasus_ray.avatar.generative.avatar import OWN, GenerativeAvatar, mix
from pegasus_ray.avatar.points.avatar import Avatar
from pegasus_ray.avatar.points.canonical import CanonicalPoints
from pegasus_ray.jobs.results import read_avatar, read_fields, read_generative
from pegasus_ray.library.records.catalogue import Catalogue
from pegasus_ray.rig.load import load_rig
from pegasus_ray.schemas.errors import PegasusError, Reason
from pegasus_ray.schemas.manifests import Kind
from pegasus_ray.schemas.parts import Attribute
from pegasus_ray.stages.transfer import TransferConfig, transfer
from pegasus_ray.viewer.codes import CodeMix


@dataclass(frozen=True, slots=True, kw_only=True)
class Outfit:
    """What a person wears. Both parts may be empty."""

    wear: Mapping[Attribute, str] = field(default_factory=dict)  # key or name of the avatar whose attribute is worn
    mixes: Mapping[Attribute, CodeMix] = field(default_factory=dict)  # attributes of a generative avatar, mixed


@dataclass(frozen=True, slots=True, kw_only=True)
class DressedPerson:
    """An avatar to draw, and the track of the person whose avatar it is."""

    avatar: Avatar
    track: str  # key
    name: str
    fields: Fields | None = None  # the avatar's networks; None if it has none, or wears attributes of others

    def points(self) -> CanonicalPoints:
        """The points to draw: evaluated by the networks if there are any, else those of the avatar."""
        rig = load_rig(self.avatar.rig)
        return self.fields.canonical(rig) if self.fields else self.avatar.canonical(self.avatar.anchors(rig))


def dress_person(catalogue: Catalogue, reference: str, outfit: Outfit, config: TransferConfig) -> DressedPerson:
    """Read a person's avatar and put on what they are to wear.

    A generative avatar wears another avatar's attribute under the code that it has learned from that avatar. Where it has
    learned none, and on avatars of other kinds, the attribute is put on as `transfer` does.

    Args:
        catalogue: of the library that holds all the avatars.
        reference: key or name of an avatar, a generative avatar or a transfer.
        outfit: what to wear; mixes are for generative avatars only.
        config: of the transfer, where points of one avatar are put on another.

    Raises:
        PegasusError: BAD_REFERENCE for an avatar that is not there, or a code that was not learned; MISSING_ATTRIBUTE.
    """
    library = catalogue.library
    fields: Fields | None = None
    to_transfer: Mapping[Attribute, str] = outfit.wear
    person = catalogue.find_first(reference, Kind.AVATARS, Kind.MODELS, Kind.TRANSFERS)
    if person.kind is Kind.MODELS:
        generative = read_generative(library, person.key)
        codes, to_transfer = _learned_codes(catalogue, generative, outfit)
        avatar = generative.decode(generative.codes(codes), load_rig(person.rig))
    else:
        if not outfit.wear and person.kind is Kind.AVATARS:
            fields = read_fields(library, person.key)
        if outfit.mixes:
            message = "only a generative avatar has codes to mix; run `pegasus personalize` and name what it makes"
            raise PegasusError(Reason.BAD_REFERENCE, message, subject=reference)
        avatar = read_avatar(library, person.key, person.kind)
    for attribute, name in to_transfer.items():
        lender = catalogue.find(name, Kind.AVATARS)
        avatar = transfer(read_avatar(library, lender.key), avatar, [attribute], config)
    return DressedPerson(
        avatar=avatar, track=person.inputs.get("track", ""), name=catalogue.name(person), fields=fields
    )


def _learned_codes(
    catalogue: Catalogue, generative: GenerativeAvatar, outfit: Outfit
) -> tuple[dict[Attribute, Tensor], dict[Attribute, str]]:
    """The codes that the model has learned for an outfit, and the avatars whose attributes it has not learned."""
    codes: dict[Attribute, Tensor] = {}
    unlearned: dict[Attribute, str] = {}
    for attribute, name in outfit.wear.items():
        block = generative.blocks.get(attribute)
        source = _code_name(catalogue, name)
        if block is not None and source in block.sources:
            codes[attribute] = block.code(source)
        else:
            unlearned[attribute] = name
    for attribute, wanted in outfit.mixes.items():
        block = generative.blocks.get(attribute)
        if block is None:
            names = ", ".join(generative.blocks) or "none"
            message = f"the generative avatar has no codes of it; it has {names}"
            raise PegasusError(Reason.MISSING_ATTRIBUTE, message, subject=attribute.value)
        first, second = (block.code(_code_name(catalogue, name)) for name in (wanted.first, wanted.second))
        codes[attribute] = mix(first, second, wanted.share)
    return codes, unlearned


def _code_name(catalogue: Catalogue, name: str) -> str:
    """A code's name in the model, from what people write: the key of an avatar, or `own`."""
    return OWN if name == OWN else catalogue.find(name, Kind.AVATARS).key
