"""The peers are programs of their own, some of which import what only the ``[bench]`` extra installs."""

collect_ignore = ["peers"]
