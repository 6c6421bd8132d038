"""Which pairs of certificate and key are taken, and what is said of the others."""

import logging
import shutil
import ssl
import subprocess
from pathlib import Path

import pytest

from regenerator.certificates import CertificateFiles, Certificates, read_pair
from regenerator.render import RenderSettings
from tests.certificates import Authority

OPENSSL = str(shutil.which("openssl"))

TEXT = RenderSettings("dev.test", "https://dev.test", ("80",), listen_tls=("443",))


def openssl(*arguments: str) -> None:
    subprocess.run([OPENSSL, *arguments], capture_output=True, check=True, timeout=20)


@pytest.fixture(name="files")
def _files(tmp_path: Path) -> CertificateFiles:
    return CertificateFiles(*map(Path, Authority(tmp_path).sign("one")))


def certificates(files: CertificateFiles, state: Path, *, now: float = 0.0) -> Certificates:
    return Certificates(files, state, saved=lambda: None, now=lambda: now)


def test_a_pair_that_fits_is_read(files: CertificateFiles) -> None:
    pair = read_pair(files)

    assert pair.certificate == files.certificate.read_bytes()
    assert pair.name == read_pair(files).name
    assert "PRIVATE" not in repr(pair)


@pytest.mark.parametrize("end", ["20370102030405Z", "20520102030405Z"])
def test_when_it_expires_is_read(tmp_path: Path, end: str) -> None:
    """Times before 2050 are written in another form than those after it."""
    key, request, made = (str(tmp_path / name) for name in ("k.pem", "r.pem", "c.pem"))
    openssl(
        *("req", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes"),
        *("-subj", "/CN=x", "-keyout", key, "-out", request),
    )
    config = tmp_path / "ca.cnf"
    config.write_text(
        f"[ca]\ndefault_ca=d\n[d]\ndatabase={tmp_path}/index\nserial={tmp_path}/serial\n"
        f"new_certs_dir={tmp_path}\ndefault_md=sha256\npolicy=p\n[p]\ncommonName=supplied\n"
    )
    (tmp_path / "index").touch()
    (tmp_path / "serial").write_text("01\n")
    openssl(
        *("ca", "-batch", "-selfsign", "-config", str(config), "-keyfile", key, "-in", request),
        *("-startdate", "20200101000000Z", "-enddate", end, "-out", made, "-notext"),
    )

    pair = read_pair(CertificateFiles(Path(made), Path(key)))

    assert pair.expires_at == ssl.cert_time_to_seconds(f"Jan  2 03:04:05 {end[:4]} GMT")


def test_bytes_that_are_other_have_another_name(files: CertificateFiles) -> None:
    before = read_pair(files).name

    files.certificate.write_bytes(files.certificate.read_bytes() + b"\n")

    assert read_pair(files).name != before


def test_what_does_not_fit_is_refused(files: CertificateFiles, tmp_path: Path) -> None:
    other = Authority(tmp_path).sign("two")
    (tmp_path / "empty").touch()
    locked = tmp_path / "locked.key"
    openssl("ec", "-in", str(files.key), "-aes128", "-passout", "pass:x", "-out", str(locked))
    cases = {
        files._replace(key=Path(other[1])): "do not belong together",
        files._replace(key=tmp_path / "empty"): "cannot be used",
        files._replace(certificate=tmp_path / "empty"): "there is no certificate (PEM) in",
        files._replace(certificate=tmp_path / "gone"): "cannot be read (No such file or directory)",
        # nobody is asked for its password
        files._replace(key=locked): "cannot be used",
    }

    for case, reason in cases.items():
        with pytest.raises(ValueError, match=reason.replace("(", r"\(").replace(")", r"\)")):
            read_pair(case)


def test_half_of_a_certificate_is_refused(files: CertificateFiles) -> None:
    whole = files.certificate.read_bytes()
    for length in range(0, len(whole), 37):
        files.certificate.write_bytes(whole[:length])
        with pytest.raises(ValueError, match="certificate"):
            read_pair(files)


def test_what_is_used_lies_in_the_state_folder_for_us_alone(
    files: CertificateFiles, tmp_path: Path
) -> None:
    state = tmp_path / "state"

    used = certificates(files, state).fill(TEXT).tls

    for kind, source in (("crt", files.certificate), ("key", files.key)):
        copy = state / "tls" / f"{used}.{kind}"
        assert copy.read_bytes() == source.read_bytes()
        assert copy.stat().st_mode & 0o777 == 0o600
    assert (state / "tls").stat().st_mode & 0o777 == 0o700


def test_a_pair_that_generations_use_stays_and_others_go(
    files: CertificateFiles, tmp_path: Path
) -> None:
    state = tmp_path / "state"
    names = []
    watched = certificates(files, state)
    for number in range(4):
        names.append(watched.fill(TEXT).tls)
        if number == 1:
            folder = state / "generations" / "one"
            folder.mkdir(parents=True)
            (folder / "tls.conf").write_text(f"ssl_certificate ../../tls/{names[1]}.crt;\n")
        for made, place in zip(Authority(tmp_path).sign(f"n{number}"), files, strict=True):
            shutil.copy(made, place)
        watched.look()

    kept = {path.stem for path in (state / "tls").iterdir()}
    assert kept == {names[1], watched.fill(TEXT).tls}


def test_a_generation_that_cannot_be_read_holds_no_certificate_up(
    files: CertificateFiles, tmp_path: Path
) -> None:
    """As one that is removed in that moment."""
    told: list[int] = []
    watched = Certificates(files, tmp_path / "state", saved=lambda: told.append(1))
    (tmp_path / "state" / "generations" / "one" / "tls.conf").mkdir(parents=True)
    for made, place in zip(Authority(tmp_path).sign("new"), files, strict=True):
        shutil.copy(made, place)

    watched.look()

    assert told == [1]
    assert watched.fill(TEXT).tls == read_pair(files).name


def test_a_change_is_told_once_and_trouble_once(
    files: CertificateFiles, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    told: list[int] = []
    watched = Certificates(files, tmp_path / "state", saved=lambda: told.append(1))
    before = watched.fill(TEXT).tls
    other = Authority(tmp_path).sign("other")
    with caplog.at_level(logging.INFO, "regenerator"):
        watched.look()
        shutil.copy(other[0], files.certificate)
        watched.look()
        watched.look()
        assert watched.fill(TEXT).tls == before
        assert told == []
        shutil.copy(other[1], files.key)
        watched.look()
        watched.look()

    assert told == [1]
    assert watched.fill(TEXT).tls == read_pair(files).name != before
    messages = [record.getMessage() for record in caplog.records]
    assert sum("stays" in message for message in messages) == 1
    assert sum("a new certificate" in message for message in messages) == 1


@pytest.mark.parametrize(("late_s", "said"), [(0, "expires on"), (200_000, "expired on")])
def test_what_expires_is_told(
    files: CertificateFiles,
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
    late_s: float,
    said: str,
) -> None:
    now = read_pair(files).expires_at - 3600 + late_s

    with caplog.at_level(logging.WARNING, "regenerator"):
        certificates(files, tmp_path / "state", now=now)

    assert said in caplog.text


def test_what_holds_for_long_is_no_news(
    files: CertificateFiles, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    certificates(files, tmp_path / "state", now=read_pair(files).expires_at - 30 * 86400)

    assert not caplog.records


def test_without_files_nothing_is_done(tmp_path: Path) -> None:
    idle = Certificates(None, tmp_path / "state", saved=lambda: None)

    idle.start()
    idle.look()
    idle.stop()

    assert idle.fill(TEXT) == TEXT
    assert not (tmp_path / "state").exists()
