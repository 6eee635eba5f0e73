"""Geometry and power → achievable rates (C²P²SL paper, eqs 5 and 6)."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]


def path_loss_db(distance_m: Floats | float, carrier_ghz: float) -> Floats:
    """``28 + 22 log10 d + 20 log10 f`` dB, d in metres and f in GHz (section IV-A)."""
    return np.asarray(28.0 + 22.0 * np.log10(distance_m) + 20.0 * np.log10(carrier_ghz), dtype=np.float64)


def rate_bps(
    tx_power_dbm: Floats | float,
    distance_m: Floats | float,
    *,
    bandwidth_hz: float,
    carrier_ghz: float,
    antenna_gain_db: float,
    noise_dbm_per_hz: float,
) -> Floats:
    """Shannon rate ``B log2(1 + G p h / (B N0))`` in bit/s, with the whole frame and band (eqs 5, 6)."""
    received_dbm = tx_power_dbm + antenna_gain_db - path_loss_db(distance_m, carrier_ghz)
    noise_dbm = noise_dbm_per_hz + 10.0 * np.log10(bandwidth_hz)
    snr = 10.0 ** ((received_dbm - noise_dbm) / 10.0)
    return np.asarray(bandwidth_hz * np.log2(1.0 + snr), dtype=np.float64)


def share_rate_bps(share: Floats, snr: Floats, bandwidth_hz: float) -> Floats:
    """Rate on a ``share`` above 0 of the band with all of the power on it: ``c W log2(1 + snr M / c)`` for c of M.

    ``snr`` is the ratio with the power spread over the whole band.
    """
    return np.asarray(bandwidth_hz * share * np.log1p(snr / share) / np.log(2), dtype=np.float64)
