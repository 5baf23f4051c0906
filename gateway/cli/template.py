"""``lamppost template``: what models of devices are known, and how to make one more known."""

from __future__ import annotations

import click

from gateway.cli import template_check, template_list, template_new, template_show


@click.group("template", short_help="Templates: list, show, check, make a new one.")
def command() -> None:
    """Templates describe models of devices. A file in /etc/lamppost/templates.d wins over the shipped one."""


for module in (template_list, template_show, template_check, template_new):
    command.add_command(module.command)
