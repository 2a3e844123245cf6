from __future__ import annotations

from pathlib import Path

import pytest
from ludocast.datamodules.simulate import simulate

CONFIGS = Path(__file__).parent.parent.parent / "configs"


@pytest.mark.parametrize("config", sorted(CONFIGS.glob("*.yaml")), ids=lambda path: path.name)
def test_every_recipe_file_trains(config: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from ludocast.__main__ import main

    simulate(400, tmp_path / "demo", seed=0)
    monkeypatch.chdir(tmp_path)
    options = ["--config", str(config), "--trainer.max_epochs", "1", "--trainer.enable_progress_bar", "false"]
    assert main(["fit", *options]) == 0
    assert list(tmp_path.rglob("*.ckpt"))


def test_a_typo_in_a_recipe_file_names_the_key(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    from ludocast.__main__ import main

    wrong = tmp_path / "wrong.yaml"
    wrong.write_text((CONFIGS / "churn.yaml").read_text().replace("dropout:", "droput:"))
    with pytest.raises(SystemExit):
        main(["fit", "--config", str(wrong)])
    assert "droput" in capsys.readouterr().err
