"""The schemes, one short file each; this is where they are listed."""

from __future__ import annotations

from agents.schemes.c2p2sl import C2P2SL
from agents.schemes.centralised import CENTRALISED
from agents.schemes.cpsl import CPSL
from agents.schemes.epsl import EPSL
from agents.schemes.fl import FL
from agents.schemes.gpipe import GPIPE
from agents.schemes.pipar import PIPAR
from agents.schemes.psl import PSL
from agents.schemes.seam import Scheme
from agents.schemes.sfl import SFL
from agents.schemes.sfl_v2 import SFL_V2
from agents.schemes.sl import SL
from agents.schemes.ushape import USHAPE

SCHEMES: dict[str, Scheme] = {
    scheme.name: scheme for scheme in (SL, FL, SFL, SFL_V2, PSL, EPSL, CPSL, PIPAR, C2P2SL, GPIPE, USHAPE, CENTRALISED)
}

__all__ = ["SCHEMES", "Scheme"]
