"""``withdraw`` and ``launch --rollback`` against a stub of a node: words in, client calls out, text and exit codes."""

from falak.cli.main import main

WITHDRAWN = {"name": "hello", "generation": 4, "keepers": ["n2"], "changed": True, "drained": ["n3"]}
ROLLED_BACK = {"name": "hello", "generation": 3, "version": "1", "keepers": ["n2"], "changed": True}


def test_withdraw_says_where_it_drained(stub, capsys):
    stub.done("withdraw", WITHDRAWN, {"generation": 4})
    assert main(["withdraw", "hello"]) == 0
    assert (
        capsys.readouterr().out == "hello is withdrawn, drained at n3\n" and stub.asked[-1]["name"] == "hello"
    )
    stub.done("withdraw", WITHDRAWN | {"changed": False, "drained": []})
    assert main(["withdraw", "hello"]) == 0
    assert capsys.readouterr().out == "hello is withdrawn (it was before), it ran nowhere\n"


def test_withdraw_fails_where_a_node_still_runs_it(stub, capsys):
    stub.answers["withdraw"] = [{"error": {"what": "n3 still runs it", "hint": "wait", "exit": 1}}]
    assert main(["withdraw", "hello"]) == 1
    assert "n3 still runs it" in capsys.readouterr().err


def test_rollback(stub, capsys):
    stub.done("rollback", ROLLED_BACK)
    assert main(["launch", "--rollback", "hello"]) == 0
    assert capsys.readouterr().out == "hello generation 3 orbits, with version 1; kept by n2\n"
    assert main(["launch", "--rollback", "hello", "--orbit", "gpu"]) == 2
    assert "neither name nor orbit" in capsys.readouterr().err
