"""The command `resnets`, saving whenever SAVE_AFTER_S seconds have passed."""

import os

from resnets.cli.main import main
from resnets.experiment import run

run._SAVE_AFTER_S = float(os.environ["SAVE_AFTER_S"])
run._SAVE_SHARE = 1e9
main()
