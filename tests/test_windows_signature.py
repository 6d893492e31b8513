"""Who signed a file and when the certificate was issued; where a driver's file is."""

from __future__ import annotations

import ctypes
import subprocess
import sys
from datetime import datetime, timezone
from pathlib import Path, PureWindowsPath

import pytest

from conftest import tool_path
from etwcap.errors import WindowsCallError
from etwcap.windows.dll import Library
from etwcap.windows.drivers import DriverFile, driver_file, driver_path
from etwcap.windows.signature import Signature, Signatures
from signed_file import program, signature

SIGNER, ISSUED = "Made Corporation", datetime(2016, 3, 4, 5, 6, 7, tzinfo=timezone.utc)

STAND_IN = r"""
#include <errno.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
typedef uint8_t u8; typedef uint16_t u16; typedef uint32_t u32; typedef uint64_t u64;
static u8 signer_info[208 + 40];
static u8 context[40];
static u8 info[208];
int open_things = 0;
int32_t CryptQueryObject(u32 type, const u16 *path, u32 content, u32 format, u32 flags, void *a, void *b, void *c,
                         void **store, void **message, void **ctx) {
  if (type != 1 || content != 1 << 10 || format != 2 || flags || a || b || c || ctx) abort();
  if (path[0] == 'n') { errno = (int)0x80092009; return 0; }
  if (path[0] == 'm') { errno = 2; return 0; }
  *store = (void *)0x1111222233334444; *message = (void *)0x5555666677778888;
  open_things += 2;
  return 1;
}
int32_t CryptMsgGetParam(void *message, u32 kind, u32 index, void *data, u32 *size) {
  if ((u64)message != 0x5555666677778888 || kind != 7 || index) abort();
  if (!data) { *size = sizeof signer_info; return 1; }
  if (*size < sizeof signer_info) abort();
  memset(data, 0x77, sizeof signer_info);
  return 1;
}
u64 CertFindCertificateInStore(void *store, u32 encoding, u32 flags, u32 type, void *of, void *previous) {
  if ((u64)store != 0x1111222233334444 || encoding != 0x10001 || flags || type != 11 << 16 || previous) abort();
  if (*(u8 *)of != 0x77) abort();
  u64 ticks = 131015415670000000, at = (u64)info;
  memcpy(info + 64, &ticks, 8);
  memcpy(context + 24, &at, 8);
  open_things++;
  return (u64)context;
}
u32 CertGetNameStringW(u64 certificate, u32 type, u32 flags, void *parameter, u16 *name, u32 room) {
  if (certificate != (u64)context || type != 4 || flags || parameter || room < 6) abort();
  memcpy(name, u"Made!", 12);
  return 6;
}
int32_t CertFreeCertificateContext(u64 certificate) { open_things--; return certificate == (u64)context; }
int32_t CryptMsgClose(void *message) { open_things--; return (u64)message == 0x5555666677778888; }
int32_t CertCloseStore(void *store, u32 flags) { open_things--; return (u64)store == 0x1111222233334444 && !flags; }
"""


@pytest.fixture(scope="module")
def stand_in(tmp_path_factory: pytest.TempPathFactory) -> Library:
    if sys.platform == "win32":
        pytest.skip("the stand-in is compiled on the build machine")
    folder = tmp_path_factory.mktemp("crypt32")
    (folder / "crypt32.c").write_text(STAND_IN)
    words = [tool_path("cc"), "-shared", "-fPIC", "-Wall", "-o", str(folder / "crypt32.so"), str(folder / "crypt32.c")]
    subprocess.run(words, check=True)
    return Library("crypt32.dll", stand_in=str(folder / "crypt32.so"))


def test_signer_and_date_are_read_and_everything_is_let_go_of(stand_in: Library) -> None:
    assert Signatures(stand_in).of("driver.sys") == Signature("Made!", ISSUED)
    assert ctypes.c_int.in_dll(stand_in._load(), "open_things").value == 0


def test_a_file_without_signature_has_none(stand_in: Library) -> None:
    assert Signatures(stand_in).of("no signature") is None


def test_a_file_that_cannot_be_read_is_an_error(stand_in: Library) -> None:
    with pytest.raises(WindowsCallError, match="signature of missing cannot be read"):
        Signatures(stand_in).of("missing")


@pytest.fixture
def crypt32() -> Signatures:
    if sys.platform != "win32":
        pytest.skip("crypt32.dll is Windows' own")
    return Signatures()


def test_windows_reads_the_signature_of_a_made_file(crypt32: Signatures, tmp_path: Path) -> None:
    path = tmp_path / "driver.sys"
    path.write_bytes(program(signature(SIGNER, ISSUED)))
    assert crypt32.of(str(path)) == Signature(SIGNER, ISSUED)


def test_windows_finds_no_signature_where_there_is_none(crypt32: Signatures, tmp_path: Path) -> None:
    path = tmp_path / "driver.sys"
    path.write_bytes(program())
    assert crypt32.of(str(path)) is None


def test_another_parser_finds_signer_and_date_in_the_made_file(tmp_path: Path) -> None:
    if sys.platform == "win32":
        pytest.skip("openssl is asked on the build machine")
    made = program(signature(SIGNER, ISSUED))
    path = tmp_path / "signature.der"
    path.write_bytes(made[512 + 8 :])
    words = [tool_path("openssl"), "pkcs7", "-inform", "DER", "-in", str(path), "-print_certs", "-text", "-noout"]
    shown = subprocess.run(words, check=True, capture_output=True, text=True).stdout
    assert "Not Before: Mar  4 05:06:07 2016 GMT" in shown
    assert SIGNER in shown


@pytest.mark.parametrize(
    ("image", "path"),
    [
        (r"\??\C:\Program Files\Analyzer\WfpCapture.sys", r"C:\Program Files\Analyzer\WfpCapture.sys"),
        (r"\SystemRoot\system32\drivers\WfpCapture.sys", r"C:\Windows\system32\drivers\WfpCapture.sys"),
        (r"%SystemRoot%\System32\drivers\a.sys", r"C:\Windows\System32\drivers\a.sys"),
        (r"System32\drivers\WfpCapture.sys", r"C:\Windows\System32\drivers\WfpCapture.sys"),
        ("", r"C:\Windows\System32\drivers\WfpCapture.sys"),
    ],
)
def test_an_image_path_becomes_an_absolute_path(image: str, path: str) -> None:
    assert driver_path(image, "WfpCapture", PureWindowsPath(r"C:\Windows")) == path


def test_a_driver_is_found_by_the_key_of_its_service() -> None:
    asked = []

    def words(key: str, name: str) -> str | None:
        asked.append((key, name))
        return None

    found = driver_file("X", words=words, number=lambda _key, _name: 4, folder=lambda: r"C:\Windows\System32")
    assert found == DriverFile(r"C:\Windows\System32\drivers\X.sys", 4)
    assert asked == [(r"SYSTEM\CurrentControlSet\Services\X", "ImagePath")]
