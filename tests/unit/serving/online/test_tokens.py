import hashlib
from pathlib import Path

import pytest
from widedeep.serving import cli
from widedeep.serving.contract.errors import ConfigurationError
from widedeep.serving.online.tokens import Caller, append_line, digest, new_token, read_tokens

PATH = Path("tokens")
HEX = hashlib.sha256(b"secret").hexdigest()


def test_a_line_admits_the_token_of_its_digest() -> None:
    text = f"# callers\n\nreporting sha256:{HEX}\n  other\tsha256:{'0' * 64}  admin # may do all\n"
    found = read_tokens(PATH, text.encode())
    assert found == {
        digest("secret"): Caller("reporting"),
        bytes(32): Caller("other", is_admin=True),
    }


def test_a_new_token_is_admitted_by_its_line_and_is_no_other_token() -> None:
    made = [new_token("someone", is_admin=is_admin) for is_admin in (False, True)]
    for is_admin, (token, line) in enumerate(made):
        assert len(token) == 43
        assert token not in line
        assert read_tokens(PATH, line.encode()) == {digest(token): Caller("someone", is_admin=bool(is_admin))}
    assert made[0][0] != made[1][0]


@pytest.mark.parametrize(
    "line",
    [
        "reporting",
        f"sha256:{HEX}",
        f"reporting {HEX}",
        f"reporting sha256:{HEX[:-1]}",
        f"reporting sha256:{HEX.upper()}",
        f"reporting sha512:{HEX}",
        f"reporting sha256:{HEX} root",
        f"reporting sha256:{HEX} admin admin",
        f"-x sha256:{HEX}",
        f"{'x' * 65} sha256:{HEX}",
        "\xff\xfe",
    ],
)
def test_a_line_that_is_none_is_named_by_number_and_not_repeated(line: str) -> None:
    with pytest.raises(ConfigurationError) as refused:
        read_tokens(PATH, f"# first\n{line}\n".encode("latin-1"))
    assert str(refused.value).startswith("tokens, line 2: expected `<name> sha256:<64 hexadecimal digits>`")
    assert line not in str(refused.value)


def test_a_file_as_other_systems_write_it_is_read() -> None:
    text = f"reporting sha256:{HEX}\nother sha256:{'0' * 64} admin\n"
    assert read_tokens(PATH, text.replace("\n", "\r\n").encode("utf-8-sig")) == read_tokens(PATH, text.encode())


def test_the_digest_of_nothing_admits_nobody() -> None:
    with pytest.raises(ConfigurationError, match="line 1: this is the digest of an empty token"):
        read_tokens(PATH, f"reporting sha256:{hashlib.sha256(b'').hexdigest()}".encode())


def test_a_digest_stands_once_and_a_name_as_often_as_it_has_tokens() -> None:
    with pytest.raises(ConfigurationError, match="line 2: this digest has been given before"):
        read_tokens(PATH, f"one sha256:{HEX}\ntwo sha256:{HEX}".encode())
    assert len(read_tokens(PATH, f"one sha256:{HEX}\none sha256:{'0' * 64}".encode())) == 2


@pytest.mark.parametrize("name", ["", "two words", "#", "a\nb", "é", "x" * 65, "-x"])
def test_a_name_that_could_not_stand_in_a_line_is_refused(name: str) -> None:
    with pytest.raises(ConfigurationError, match="expected a name of letters"):
        new_token(name)


def test_a_file_is_made_for_its_owner_alone_and_grows_as_a_whole(tmp_path: Path) -> None:
    path = tmp_path / "tokens"
    first, second = new_token("first")[1], new_token("second")[1]
    append_line(path, first)
    assert path.stat().st_mode & 0o777 == 0o600
    inode = path.stat().st_ino
    path.write_text(first)  # by hand, without a line break at its end
    append_line(path, second)
    assert path.read_text() == f"{first}\n{second}\n"
    assert path.stat().st_ino != inode
    assert [entry.name for entry in tmp_path.iterdir()] == ["tokens"]


def test_a_file_that_is_none_of_tokens_stays_as_it_is(tmp_path: Path) -> None:
    path = tmp_path / "shopping"
    path.write_text("two eggs\n")
    with pytest.raises(ConfigurationError, match="line 1"):
        append_line(path, new_token("first")[1])
    assert path.read_text() == "two eggs\n"


def test_a_link_to_the_file_stays_one(tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to("tokens")
    append_line(tmp_path / "link", new_token("first")[1])
    assert (tmp_path / "link").is_symlink()
    assert len(read_tokens(PATH, (tmp_path / "tokens").read_bytes())) == 1


def test_the_command_prints_the_token_once_and_the_line_beside_it(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.token(["reporting"]) == 0
    found = capsys.readouterr()
    token = found.out.removesuffix("\n")
    line = found.err.partition(": ")[2]
    assert read_tokens(PATH, line.encode()) == {digest(token): Caller("reporting")}


def test_the_command_adds_the_line_to_a_file(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "tokens"
    tokens = []
    for arguments in (["reporting"], ["operator", "--admin"]):
        assert cli.token([*arguments, "--append", str(path)]) == 0
        tokens.append(capsys.readouterr().out.strip())
    assert read_tokens(path, path.read_bytes()) == {
        digest(tokens[0]): Caller("reporting"),
        digest(tokens[1]): Caller("operator", is_admin=True),
    }
