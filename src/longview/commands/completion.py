"""``longview completion``: scripts that complete commands, and names of sweeps and runs, in the shell."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

from longview.errors import LongviewError
from longview.runs.find import groups_under, root_of

OK = 0
_COMMANDS = "status logs why cancel resume table open export doctor check schema data completion"
_NAMED = "status|logs|why|cancel|resume|table|open|export"
_BASH = f"""\
_longview() {{
  local word=${{COMP_WORDS[COMP_CWORD]}}
  if [ "$COMP_CWORD" -eq 1 ]; then
    COMPREPLY=($(compgen -W "{_COMMANDS}" -- "$word"))
  else
    case ${{COMP_WORDS[1]}} in
      {_NAMED}) COMPREPLY=($(compgen -W "$(longview _names 2>/dev/null | cut -f 1)" -- "$word")) ;;
    esac
  fi
}}
complete -o default -F _longview longview
"""
_ZSH = f"""\
#compdef longview
_longview() {{
  local -a names
  if (( CURRENT == 2 )); then
    compadd -- {_COMMANDS}
  else
    case $words[2] in
      {_NAMED})
        names=(${{(f)"$(longview _names 2>/dev/null | sed 's/:/\\\\:/g; s/\\t/:/')"}})
        _describe 'run' names ;;
      *) _files ;;
    esac
  fi
}}
compdef _longview longview
"""
_FISH = f"""\
complete -c longview -f -n __fish_use_subcommand -a '{_COMMANDS}'
complete -c longview -f -n '__fish_seen_subcommand_from {_NAMED.replace("|", " ")}' -a '(longview _names 2>/dev/null)'
"""
_SCRIPTS = {"bash": _BASH, "zsh": _ZSH, "fish": _FISH}


def run(options: argparse.Namespace) -> int:
    """Print the script of a shell."""
    print(_SCRIPTS[options.shell], end="")
    return OK


def names(arguments: Sequence[str]) -> int:
    """Print what a name may be, with what it stands for; nothing where there are no runs, since a shell is asking."""
    parser = argparse.ArgumentParser("longview _names", allow_abbrev=False)
    parser.add_argument("--root", type=Path)
    try:
        groups = groups_under(root_of(parser.parse_args(arguments).root))
    except LongviewError:
        return OK
    for group in groups:
        if group.sweep is not None:
            print(f"{group.name}\tsweep of {len(group.runs)}")
        for run_ in group.runs:
            print(f"{run_.id}\t{run_.label}")
    return OK
