import json, signal
from podroute.service_config import SERVICE_CONFIG
from . import test_rolling_restart as t
from .test_rolling_restart import *


async def test_x(pair, scale):
    for label, opts, settled, n in (
        ("published settle .1", None, 0.1, 4),
        ("noretry settle 1.5", NO_RETRIES, 1.5, 3),
        (
            "noretry+health settle 1.5",
            [
                *NO_RETRIES,
                ("grpc.service_config", json.dumps({**SERVICE_CONFIG, "healthCheckConfig": {"serviceName": ""}})),
            ],
            1.5,
            3,
        ),
    ):
        t.SETTLED_S = settled
        ended, codes = await pair.under_restarts(scale, signal.SIGTERM, n, opts)
        print(label, ended.told(), flush=True)
