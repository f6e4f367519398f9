"""Keys and archives that try to reach a file outside their folder."""

import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from contracts.reasons import DataSyncFailed
from instance.data_sync import _placed

TRICKS = ["../../outside", "/etc/passwd", "a/../../../outside", "a\\..\\outside", "a\0b", "a\nb", "a//b", "."]


@pytest.mark.parametrize("name", TRICKS)
@pytest.mark.parametrize("prefix", ["datasets/a/", "cached-models/a/"])
def test_a_manifest_with_such_a_key_writes_nothing(tmp_path: Path, prefix: str, name: str) -> None:
    source = {"prefix": prefix, "objects": [{"key": prefix + name, "bytes": 1, "etag": "e"}]}

    with pytest.raises(DataSyncFailed, match="expected a plain path") as refused:
        _placed(source, tmp_path / "data")

    assert "\n" not in str(refused.value)
    assert "\0" not in str(refused.value)


def test_a_key_of_another_folder_is_refused(tmp_path: Path) -> None:
    source = {"prefix": "datasets/a/", "objects": [{"key": "phase1/x/manifest.json", "bytes": 1, "etag": "e"}]}

    with pytest.raises(DataSyncFailed):
        _placed(source, tmp_path / "data")


def test_the_code_s_archive_is_unpacked_by_a_command_that_stays_in_its_folder(tmp_path: Path) -> None:
    """user_data.sh unpacks with `python3 -m zipfile -e`; the archive comes from the deployment."""
    assert "python3 -m zipfile -e" in (Path(__file__).parents[2] / "instance" / "user_data.sh").read_text()
    link = zipfile.ZipInfo("link")
    link.external_attr = 0o120777 << 16
    with zipfile.ZipFile(tmp_path / "code.zip", "w") as archive:
        archive.writestr("../outside", "x")
        archive.writestr("/absolute", "x")
        archive.writestr(link, "/etc")
        archive.writestr("link/passwd", "x")
    folder = tmp_path / "deep" / "code"
    folder.mkdir(parents=True)

    subprocess.run(
        [sys.executable, "-m", "zipfile", "-e", tmp_path / "code.zip", folder], capture_output=True, check=False
    )

    assert not [path for path in tmp_path.rglob("*") if path.is_symlink()]
    outside = {path.name for path in tmp_path.rglob("*") if path.is_file() and folder not in path.parents}
    assert outside == {"code.zip"}


def test_a_packed_environment_with_a_way_out_is_refused_by_tar(tmp_path: Path) -> None:
    """environment.sh unpacks with tar, after the archive's checksum was right."""
    (tmp_path / "outside").write_text("x")
    pack = ["tar", "-C", tmp_path, "-czPf", tmp_path / "env.tar.gz", "--transform", "s,^outside,../outside,", "outside"]
    subprocess.run(pack, check=True)
    (tmp_path / "outside").unlink()
    (tmp_path / "home").mkdir()

    unpack = ["tar", "-xzf", tmp_path / "env.tar.gz", "-C", tmp_path / "home"]
    done = subprocess.run(unpack, capture_output=True, check=False)

    assert done.returncode != 0
    assert not (tmp_path / "outside").exists()
