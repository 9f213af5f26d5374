"""Settings as plain text, to be handed to another process, and the world that a spec is measured in."""

from dataclasses import asdict, dataclass
from pathlib import Path

from adaptx.bench.spec import Spec
from adaptx.config import Settings, resolve


@dataclass(frozen=True)
class Places:
    """The arguments of `config.resolve`, resolved, as text."""

    profile: str
    store: str
    cache: str
    data_root: str | None
    registry: str | None
    backbone: str
    device: str

    @staticmethod
    def of(settings: Settings) -> "Places":
        """The places of `settings`, absolute: every process understands them."""
        overlay = settings.registry.overlay
        return Places(
            settings.profile.id,
            str(settings.store.resolve()),
            str(settings.cache.resolve()),
            str(settings.data_root.resolve()) if settings.data_root else None,
            str(overlay.resolve()) if overlay else None,
            settings.backbone,
            settings.device,
        )

    def resolved(self) -> Settings:
        """The settings again."""
        return resolve(
            profile=self.profile,
            store=Path(self.store),
            cache=Path(self.cache),
            data_root=Path(self.data_root) if self.data_root else None,
            registry=Path(self.registry) if self.registry else None,
            backbone=self.backbone,
            device=self.device,
        )

    def settings(self, spec: Spec) -> Settings:
        """The settings that `spec` is measured under: these, or those of its shape's made-up world."""
        if spec.shape is None:
            return self.resolved()
        from adaptx.bench import shapes

        return shapes.world(self.resolved(), spec)

    def as_json(self) -> dict[str, str | None]:
        """For an order."""
        return asdict(self)
