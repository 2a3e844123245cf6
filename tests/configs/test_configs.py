from __future__ import annotations

from pathlib import Path

import pytest
from ludocast.datamodules.game.log import simulate_log
from ludocast.datamodules.simulate import simulate

from tests.recipes.made_events import make_files

CONFIGS = Path(__file__).parent.parent.parent / "configs"


@pytest.mark.parametrize("config", sorted(CONFIGS.glob("*.yaml")), ids=lambda path: path.name)
def test_every_recipe_file_trains(config: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from ludocast.__main__ import main

    simulate(400, tmp_path / "game")
    simulate_log(100, 160, tmp_path / "demo")
    make_files(tmp_path)
    monkeypatch.chdir(tmp_path)
    options = ["--config", str(config), "--trainer.max_epochs", "1", "--trainer.enable_progress_bar", "false"]
    assert main(["fit", *options]) == 0
    assert list(tmp_path.rglob("*.ckpt"))


@pytest.mark.parametrize(
    ("config", "key", "typo"), [("churn", "dropout:", "droput:"), ("sequence_tag", "hidden:", "hiden:")]
)
def test_a_typo_in_a_recipe_file_names_the_key(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], config: str, key: str, typo: str
) -> None:
    from ludocast.__main__ import main

    wrong = tmp_path / "wrong.yaml"
    wrong.write_text((CONFIGS / f"{config}.yaml").read_text().replace(key, typo))
    with pytest.raises(SystemExit):
        main(["fit", "--config", str(wrong)])
    assert typo[:-1] in capsys.readouterr().err
