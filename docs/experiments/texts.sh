#!/usr/bin/env bash
# The texts of bytes_large.toml into build/texts: the Debian handbook (GPL-2+ or CC BY-SA 3.0) and
# the manual pages of Linux, in English and in Russian. Wants a Debian system; installs nothing.
set -euo pipefail
cd "$(dirname "$0")/../.."
mkdir -p build/texts/deb build/texts/en build/texts/ru
cd build/texts/deb
apt-get download debian-handbook manpages manpages-dev manpages-ru
for package in *.deb; do dpkg -x "$package" .; done
cd ..
python3 - <<'EOF'
import gzip
import html
import re
from pathlib import Path

SHARE = Path("deb/usr/share")
MARKUP = re.compile(r"<(script|style|head)\b.*?</\1>|<[^>]*>", re.DOTALL)
for language, handbook, manual in (("en", "en-US", "man"), ("ru", "ru-RU", "man/ru")):
    out = Path(language)
    for page in (SHARE / "doc/debian-handbook/html" / handbook).glob("*.html"):
        text = html.unescape(MARKUP.sub(" ", page.read_text(encoding="utf-8")))
        text = re.sub(r"\s*\n\s*", "\n", re.sub(r" +", " ", text))
        (out / f"handbook-{page.stem}.txt").write_text(text, encoding="utf-8")
    for page in (SHARE / manual).glob("man*/*.gz"):
        lines = gzip.decompress(page.read_bytes()).decode("utf-8", "replace").splitlines()
        text = "\n".join(line for line in lines if not line.startswith((".\\\"", "'\\\"")))
        (out / f"{page.stem}.txt").write_text(text, encoding="utf-8")
    files = list(out.glob("*.txt"))
    print(language, len(files), "files,", sum(f.stat().st_size for f in files), "bytes")
EOF
