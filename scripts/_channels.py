"""A channel on file: what `fund` writes and the other scripts read."""

import json
from dataclasses import dataclass
from pathlib import Path

from farthing.protocol import ChannelConfig, Domain, InvalidField
from scripts._support import BadInput


@dataclass(frozen=True)
class ChannelFile:
    """A channel's config with the chain and the contract it belongs to."""

    domain: Domain
    config: ChannelConfig

    @property
    def channel_id(self) -> bytes:
        return self.config.channel_id(self.domain)

    def save(self, folder: Path) -> Path:
        """Writes ``<folder>/<chain id>-<channel id>.json`` and returns its path."""
        folder.mkdir(parents=True, exist_ok=True)
        path = folder / f"{self.domain.chain_id}-0x{self.channel_id.hex()}.json"
        data = {
            "chainId": self.domain.chain_id,
            "settlement": self.domain.contract,
            "channelId": "0x" + self.channel_id.hex(),
            "channelConfig": self.config.to_json(),
        }
        path.write_text(json.dumps(data, indent=2) + "\n")
        return path

    @classmethod
    def load(cls, path: Path, chain_id: int) -> "ChannelFile":
        """Reads a file that `save` wrote.

        Raises:
            BadInput: There is none, it is something else, or it is of another chain.
        """
        try:
            data = json.loads(path.read_text())
            config = ChannelConfig.from_json(data["channelConfig"])
            loaded = cls(Domain(data["chainId"], data["settlement"]), config)
            said = data["channelId"]
        except OSError as error:
            raise BadInput(f"channel file {path} cannot be read: {error.strerror}.") from error
        except InvalidField as error:
            raise BadInput(f"{path} is not a channel file: {error}.") from error
        except (ValueError, TypeError, KeyError) as error:
            raise BadInput(
                f"{path} is not a channel file: name one that `ape run fund` wrote."
            ) from error
        if said != "0x" + loaded.channel_id.hex():
            raise BadInput(f"{path} was changed: its config is not that of channel {said}.")
        if loaded.domain.chain_id != chain_id:
            raise BadInput(
                f"{path} is a channel of chain {loaded.domain.chain_id}, and --network is chain "
                f"{chain_id}: name the network of the channel."
            )
        return loaded
