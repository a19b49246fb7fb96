"""Where a manifest exists it wins: a collection as its readers see it, whatever the stage says by now."""

from __future__ import annotations

from collections.abc import Sequence

from pydantic import ValidationError

from siltstone.compaction.documents import Manifest
from siltstone.errors import ManifestDamaged, SettingsMismatch
from siltstone.settings import CollectionSettings


def as_published(settings: CollectionSettings, manifest: Manifest | None) -> CollectionSettings:
    """The stage's ``settings`` with the manifest's model, dimension, space and so on. Raises `ManifestDamaged`."""
    if manifest is None:
        return settings
    try:
        return CollectionSettings.model_validate({**settings.model_dump(), **manifest.settings})
    except ValidationError as error:
        raise ManifestDamaged(
            f"The settings of {manifest.collection} {manifest.version} can't be read: {error.errors()[0]['msg']}.",
            remedy="Run `siltstone verify`.",
        ) from error


def as_one(collection: str, settings: CollectionSettings, manifests: Sequence[Manifest]) -> CollectionSettings:
    """What all shards of a collection are made of. Raises `SettingsMismatch`: distances would not compare, and ids
    would be looked for in the wrong shard.
    """
    seen = [as_published(settings, manifest) for manifest in manifests] or [settings]
    if any(each.fixed() != seen[0].fixed() for each in seen) or seen[0].shards != settings.shards:
        raise SettingsMismatch(
            f"The shards of {collection} were not made with one setting, or not as {settings.shards}.",
            remedy="Set it back in cdk.json; build another collection for other settings.",
        )
    return seen[0]
