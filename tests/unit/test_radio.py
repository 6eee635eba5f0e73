"""Rates worked by hand from eqs 5 and 6."""

from __future__ import annotations

import math

import pytest

from controller.predict.radio import path_loss_db, rate_bps

BAND = {"bandwidth_hz": 100e6, "carrier_ghz": 3.5, "antenna_gain_db": 10.0, "noise_dbm_per_hz": -174.0}


def test_path_loss_at_100_m_and_3_5_ghz():
    assert path_loss_db(100.0, 3.5) == pytest.approx(28 + 44 + 20 * math.log10(3.5))
    assert path_loss_db(100.0, 3.5) == pytest.approx(82.881, abs=1e-3)


def test_uplink_rate_of_table_i_at_100_m():
    # 20 dBm + 10 dB - 82.881 dB = -52.881 dBm against -174 + 80 = -94 dBm of noise: 41.119 dB
    expected = 100e6 * math.log2(1 + 10**4.1119)
    assert rate_bps(20.0, 100.0, **BAND) == pytest.approx(expected, rel=1e-4)
    assert rate_bps(20.0, 100.0, **BAND) == pytest.approx(1.366e9, rel=1e-3)


def test_rate_falls_with_distance_and_rises_with_power():
    near, far, loud = (float(rate_bps(p, d, **BAND)) for p, d in ((20.0, 100.0), (20.0, 500.0), (23.0, 500.0)))
    assert far < loud < near
