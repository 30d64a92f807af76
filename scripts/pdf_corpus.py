"""Compares the text that programs read from PDF files with the text that poppler's pdftotext reads. Run by scripts/pdf-corpus."""

import argparse
import collections
import os
import pathlib
import re
import statistics
import subprocess
import sys
import threading
import time
import unicodedata

WORD = re.compile(r"[^\W_]+")
TIMEOUT = 30


def words(text):
    """The words of a text as a multiset; compatibility forms and case do not matter."""
    return collections.Counter(WORD.findall(unicodedata.normalize("NFKC", text).lower()))


def run(command, file):
    """The exit code, standard output, seconds, and MiB of memory at the most."""
    begin = time.monotonic()
    with open(file, "rb") as source, subprocess.Popen(
        command, stdin=source, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL
    ) as process:
        timer = threading.Timer(TIMEOUT, process.kill)
        timer.start()
        output = process.stdout.read()
        _, status, usage = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
        timer.cancel()
    text = output.decode("utf-8", "replace")
    return process.returncode, text, time.monotonic() - begin, usage.ru_maxrss // 1024


def compare(oracle, ours):
    """How many of the oracle's words were found, and how many of the missing ones are glued to others or split."""
    found = sum((oracle & ours).values())
    missing = [word for word in (oracle - ours).elements() if len(word) > 2]
    surplus = list((ours - oracle).elements())
    glued = "\n".join(word for word in surplus if len(word) > 3)
    glued_count = sum(word in glued for word in missing)
    pieces = set(surplus)
    split_count = sum(
        any(word[:at] in pieces and word[at:] in pieces for at in range(1, len(word))) for word in missing
    )
    return found, glued_count, split_count


def main():
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("folder", type=pathlib.Path)
    arguments.add_argument("--reader", action="append", required=True, help="NAME=COMMAND that reads standard input")
    arguments.add_argument("--worst", type=int, default=0, help="also list this number of files with the least words found")
    options = arguments.parse_args()
    files = sorted(file for file in options.folder.rglob("*") if file.suffix.lower() == ".pdf")
    oracles = {}
    for file in files:
        code, text, _, _ = run(["pdftotext", "-enc", "UTF-8", "-", "-"], file)
        oracles[file] = words(text) if code == 0 else None
    read = [file for file in files if oracles[file]]
    print(f"{len(files)} files; pdftotext finds {sum(sum(oracles[file].values()) for file in read)} words in {len(read)} of them\n")
    print("| reader | refused | of these with words | words found | median file | mean file | worst file | glued | split | seconds | slowest | peak MiB |")
    print("|---|---|---|---|---|---|---|---|---|---|---|---|")
    for reader in options.reader:
        name, _, command = reader.partition("=")
        refused, shares, found, glued, split, times, peak = [], {}, 0, 0, 0, [], 0
        for file in files:
            code, text, seconds, memory = run(command.split(), file)
            times.append(seconds)
            peak = max(peak, memory)
            if code != 0:
                refused.append((file, text.strip()[:90] or f"exit code {code}"))
            if not oracles[file] or code != 0:
                continue
            counts = compare(oracles[file], words(text))
            found, glued, split = found + counts[0], glued + counts[1], split + counts[2]
            shares[file] = counts[0] / sum(oracles[file].values())
        total = sum(sum(oracles[file].values()) for file in shares) or 1
        values = sorted(shares.values()) or [0.0]
        with_words = sum(1 for file, _ in refused if oracles[file])
        print(
            f"| {name} | {len(refused)} | {with_words} | {found / total:.2%} | {statistics.median(values):.2%}"
            f" | {statistics.mean(values):.2%} | {values[0]:.2%} | {glued} | {split}"
            f" | {sum(times):.1f} | {max(times, default=0):.2f} | {peak} |",
            flush=True,
        )
        if options.worst:
            for file, reason in refused:
                count = sum(oracles[file].values()) if oracles[file] else 0
                print(f"    refused: {file.relative_to(options.folder)} ({count} words): {reason}")
            for file in sorted(shares, key=shares.get)[: options.worst]:
                print(f"    {shares[file]:.1%} of {sum(oracles[file].values())}: {file.relative_to(options.folder)}")


if __name__ == "__main__":
    sys.exit(main())
