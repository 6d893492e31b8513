"""Machines on which the driver WfpCapture is there, or not, or is not let in; for tests of the tap."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime, timezone

from etwcap.taps.wfp_driver import Driver
from etwcap.windows.drivers import DriverFile
from etwcap.windows.services import RUNNING, STOPPED, ServiceState
from etwcap.windows.signature import Signature
from etwcap.windows.version import SigningPolicy, WindowsVersion

WINDOWS_10 = WindowsVersion(10, 0, 19045, 4651, "Windows 10 Pro", "22H2")
WINDOWS_11 = WindowsVersion(10, 0, 26100, 2033, "Windows 11 Pro", "24H2")
SERVER_2022 = WindowsVersion(10, 0, 20348, 2700, "Windows Server 2022 Standard", "21H2", server=True)
BEFORE_1607 = WindowsVersion(10, 0, 10586, 0, "Windows 10 Pro", "1511")

FILE = DriverFile(r"C:\Windows\System32\drivers\WfpCapture.sys", 3)
NEW = Signature("Microsoft Corporation", datetime(2016, 8, 18, tzinfo=timezone.utc))
OLD = Signature("Microsoft Corporation", datetime(2015, 6, 4, tzinfo=timezone.utc))
SECURE, OPEN, UPGRADED = SigningPolicy(True, False), SigningPolicy(False, False), SigningPolicy(True, True)

NO_DRIVER = Driver(policy=SECURE)
REFUSED = Driver(ServiceState(1, STOPPED, 0, 0), FILE, True, NEW, SECURE)
"""Message Analyzer's driver on a machine with Secure Boot"""
LOADS = replace(REFUSED, policy=OPEN)
RUNS = replace(REFUSED, service=ServiceState(1, RUNNING, 0, 0))
