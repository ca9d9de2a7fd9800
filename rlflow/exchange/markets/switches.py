"""What is on or off for all markets of a venue together (protocol 8.2)."""

import attrs


@attrs.define
class Switches:
    """What is on for all markets together."""

    is_exchange_active: bool = True
    """Whether anything works; not during maintenance."""
    is_trading: bool = True
    """Whether orders are taken; otherwise cancels work, and resting orders stay but for those that asked to go."""

    @property
    def takes_orders(self) -> bool:
        """Whether anybody can place an order now, the crowd included."""
        return self.is_trading and self.is_exchange_active
