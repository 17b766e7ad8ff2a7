"""The hostile studies: one definition each."""

from rap.egress import Ending, ExitNote, Fault
from tests.docker.hostile.studies import (
    GOOD,
    HIGH,
    MODERATE,
    NO_CSV,
    OUTSIDE,
    SUCCESS,
    Study,
    gate,
    refusal,
    trap,
)

LINK = "it is a symbolic link"
HARD_LINK = "it is a hard link: the same file has another name"
UNFIT = "its name contains a control character or is not valid UTF-8"
PATIENTS = "File has patient_id column"
COMPRESSED = "File contains compressed or packed data"
NOT_SVG = "File is not a compressed SVG image"
TABLE = "printf 'patient_id,age\\n1,2\\n'"
NO_PLACE = (
    "output/a.csv.txt cannot be filed: in the workspace, a file stands where it needs a directory, "
    "or a directory where it needs a file"
)
ONLY_GOOD = {"output/good.csv": "a,b\n"}
SUMMARY = "=============JOB SUMMARY============="
LONG = "/".join(letter * 240 for letter in "abcde")

LINKS = (
    trap(
        "link to a file of the host", f"ln -s {OUTSIDE} output/a.csv", f"  output/a.csv  - {LINK}"
    ),
    trap("link that climbs", f"ln -s ../../../../../../../..{OUTSIDE} output/a.csv", LINK),
    trap("link to the environment of the agent", "ln -s /proc/self/environ output/a.csv", LINK),
    trap("link to a file of the study", "ln -s ../analysis.txt output/a.csv", LINK),
    trap("link to nowhere", "ln -s nowhere output/a.csv", LINK),
    trap(
        "links in a circle",
        "ln -s b.csv output/a.csv; ln -s a.csv output/b.csv",
        f"  output/a.csv  - {LINK}\n  output/b.csv  - {LINK}\n",
    ),
    Study(
        name="link in place of the output directory",
        program=f"rmdir output; ln -s $(dirname {OUTSIDE}) output",
        says=(NO_CSV, f"\nRefused outputs:\n  output  - {LINK}\n"),
        unmatched=True,
    ),
    trap(
        "link in place of a directory that a star stands for",
        f"mkdir output/x; echo x > output/x/x.csv; ln -s $(dirname {OUTSIDE}) output/y",
        f"  output/y  - {LINK}\n",
        patterns={"output/*.csv": MODERATE, "output/*/*.csv": HIGH},
        high=("output/good.csv", "output/x/x.csv"),
    ),
    trap("hard link to a file of the study", "ln analysis.txt output/a.csv", HARD_LINK),
    trap(
        "two names of one file",
        "echo x > output/a.csv; ln output/a.csv output/b.csv",
        f"  output/a.csv  - {HARD_LINK}\n  output/b.csv  - {HARD_LINK}\n",
    ),
)

THINGS = (
    trap("pipe that nobody writes to", "mkfifo output/a.csv", "output/a.csv  - it is a pipe"),
    trap("device", "mknod output/a.csv c 0 0", "output/a.csv  - it is not an ordinary file"),
    Study(
        name="socket",
        in_python=True,
        program="import socket; socket.socket(socket.AF_UNIX).bind('output/a.csv')",
        says=(NO_CSV, "output/a.csv  - it is a socket"),
        unmatched=True,
    ),
    Study(
        name="directory with the name of an output",
        program="mkdir output/a.csv; echo x > output/a.csv/secret.txt",
        says=(NO_CSV, "Did you mean to match one of these files instead?", "a.csv/secret.txt\n"),
        unmatched=True,
    ),
    trap(
        "file of eight terabytes with nothing in it",
        "truncate -s 8796093022208 output/a.csv",
        "output/a.csv  - it is a sparse file: hardly anything of it was ever written",
    ),
    refusal(
        "more than fifty thousand outputs",
        "i=0; while [ $i -le 50000 ]; do : > output/$i.csv; i=$((i+1)); done",
        "The output patterns match more than 50000 files. Please write fewer, larger files",
    ),
    Study(
        name="two thousand outputs",
        program="i=0; while [ $i -lt 2000 ]; do echo $i > output/$i.csv; i=$((i+1)); done",
        says=(SUCCESS,),
        level4={f"output/{number}.csv": f"{number}\n" for number in range(2000)},
    ),
    Study(
        name="directories without end",
        in_python=True,
        program=(
            "import os\nopen('output/good.csv', 'w').write('a,b\\n')\n"
            "for _ in range(3000): os.mkdir('d'); os.chdir('d')\nopen('bottom.csv', 'w').write('x')"
        ),
        says=(SUCCESS,),
        level4=ONLY_GOOD,
    ),
    Study(
        name="directories that nobody may enter",
        program=GOOD + "mkdir -p x/y; echo x > x/y/z; chmod 0 x/y/z x/y x",
        says=(SUCCESS,),
        level4=ONLY_GOOD,
    ),
)

NAMES = (
    trap(
        "name of two lines, the second a forged summary",
        "echo x > 'output/a\n=============JOB SUMMARY=============\n.csv'",
        f"  output/a\\n=============JOB SUMMARY=============\\n.csv  - {UNFIT}",
    ),
    trap(
        "name that is not UTF-8",
        "echo x > \"output/$(printf 'a\\377').csv\"",
        f"  output/a\\xff.csv  - {UNFIT}",
    ),
    trap(
        "name that colours the terminal",
        "echo x > \"output/$(printf 'a\\033[31m').csv\"",
        f"  output/a\\x1b[31m.csv  - {UNFIT}",
    ),
    trap(
        "name that is read backwards",
        "echo x > \"output/$(printf 'a\\342\\200\\256').csv\"",
        f"  output/a\\u202e.csv  - {UNFIT}",
    ),
    trap(
        "name without room for its message file",
        f"echo x > output/{'n' * 250}.csv",
        "its name has a part longer than 250 bytes",
    ),
    Study(
        name="name longer than a path may be",
        program=f"{GOOD}mkdir -p output/{LONG}; cd output/{LONG}; echo x > x.csv",
        patterns={"output/*.csv": MODERATE, "output/*/*/*/*/*/*.csv": HIGH},
        says=(
            "No outputs found matching patterns:\n - output/*/*/*/*/*/*.csv\n",
            "  - its name is longer than 1000 bytes\n",
        ),
        level4=ONLY_GOOD,
        unmatched=True,
    ),
    Study(
        name="unmatched file that is named like the summary",
        program=f"{GOOD}echo x > 'output/\n{SUMMARY}\nexit_code: 0'",
        patterns={"output/good.csv": MODERATE, "output/none.csv": MODERATE},
        says=(f"\n - output/\\n{SUMMARY}\\nexit_code: 0\n",),
        level4=ONLY_GOOD,
        unmatched=True,
    ),
    gate(
        "name with an apostrophe and blanks",
        f'{TABLE} > "output/it\'s a  table.csv"',
        PATIENTS,
        "output/it's a  table.csv",
    ),
    Study(
        name="reserved directory",
        program=f"{GOOD}mkdir metadata; echo '{{}}' > metadata/manifest.json",
        patterns={"output/*.csv": MODERATE, "*/*.json": MODERATE},
        says=(
            "No outputs found matching patterns:\n - */*.json\n",
            "  metadata/manifest.json  - the metadata directory is reserved\n",
        ),
        level4=ONLY_GOOD,
        unmatched=True,
    ),
)

NOT_STANDARD = "is not in standard form (contains double slashes or '..' elements)"
PATTERNS = tuple(
    # Nothing is even run: whoever sent this is not the controller, which refuses such patterns.
    Study(
        name=f"pattern {name}",
        program=f"{GOOD}echo x > /workspace/a.csv",
        patterns={"output/*.csv": MODERATE, pattern: MODERATE},
        says=(f"Output path {pattern} is invalid: {reason}".replace("\n", "\\n"),),
        ending=Ending.FAILED,
        fault=Fault.OUTPUT_PATH_REFUSED,
        exit_code=None,
        is_shown=False,
    )
    for name, pattern, reason in (
        ("that climbs", "output/../../*/workdir/*.csv", NOT_STANDARD),
        ("that begins above the volume", "../a.csv", NOT_STANDARD),
        ("of a file of the host", OUTSIDE, "is an absolute path"),
        ("for all directories", "**/*.csv", "contains '**' (only the * wildcard"),
        ("into the reserved directory", "metadata/*.json", "should not include the metadata"),
        ("of two lines", "output/\n*.csv", "contains a control character"),
    )
)

TABLES = (
    gate("table of patients", f"{TABLE} > output/a.csv", PATIENTS),
    gate(
        "table of patients behind a byte-order mark, quoted, in capitals",
        "printf '\\357\\273\\277\"PATIENT_ID\",age\\n1,2\\n' > output/a.csv",
        PATIENTS,
    ),
    gate(
        "table of patients in wide letters",
        "printf '\\357\\275\\220atient\\357\\274\\277id,age\\n1,2\\n' > output/a.csv",
        PATIENTS,
    ),
    gate(
        "table of patients below a title",
        "printf 'Title,\\npatient_id,age\\n1,2\\n' > output/a.csv",
        PATIENTS,
    ),
    gate(
        "table of patients with semicolons",
        "printf 'age;patient_id\\n1;2\\n' > output/a.csv",
        PATIENTS,
    ),
    gate(
        "table of patients with blanks",
        "printf 'patient_id age\\n1 2\\n' > output/a.csv",
        PATIENTS,
    ),
    gate(
        "table of patients after a merge",
        "printf 'patient_id.x,age\\n1,2\\n' > output/a.csv",
        PATIENTS,
    ),
    gate(
        "table of patients in another encoding",
        f"{TABLE} | sed 's/./&\\n/g' | tr '\\n' '\\000' > output/a.csv",
        "File contains NUL bytes",
    ),
    gate(
        "table in no known encoding",
        "printf 'na\\201ve,age\\n1,2\\n' > output/a.csv",
        "File is not valid UTF-8 text",
    ),
    gate(
        "table with a field too long to read",
        "{ printf 'a,b\\n1,'; head -c 200000 /dev/zero | tr '\\000' x; } > output/a.csv",
        "File has a field above 131,072 characters",
    ),
    gate(
        "table of one endless line",
        "{ printf 'a,b\\n1,'; head -c 3000000 /dev/zero | tr '\\000' ,; } > output/a.csv",
        "File has a line too long to check",
    ),
    gate(
        "table of patients in a second table of the file",
        "printf 'a,b\\n1,2\\n\\npatient_id,c,d\\n3,4,5\\n' > output/a.csv",
        PATIENTS,
    ),
    gate(
        "table that hides its rows behind a quote",
        "printf 'a\\n\"' > output/a.csv; seq 9000 >> output/a.csv",
        "File is not a well-formed CSV file",
    ),
    gate(
        "table of too many rows",
        "seq 5002 > output/a.csv",
        "File row count (5001) exceeds maximum allowed rows (5000)",
    ),
    gate(
        "table of patients of too many rows",
        "{ echo patient_id; seq 5001; } > output/a.csv",
        f"{PATIENTS},File row count (5001) exceeds maximum allowed rows (5000)",
    ),
    gate(
        "table that is a picture",
        "printf '\\211PNG\\r\\n\\032\\n\\000\\000' > output/a.csv",
        "File contains NUL bytes",
    ),
    gate(
        "compressed table that admits it",
        f"{TABLE} | gzip > output/a.csv.gz",
        "File type of .gz is not valid level 4 file",
        "output/a.csv.gz",
    ),
    gate("compressed table that says it is not", f"{TABLE} | gzip > output/a.csv", COMPRESSED),
    gate(
        "compressed table in a page", f"{TABLE} | gzip > output/a.html", COMPRESSED, "output/a.html"
    ),
    gate("compressed table as text", f"{TABLE} | bzip2 > output/a.txt", COMPRESSED, "output/a.txt"),
    gate(
        "data for programs as a message file",
        "printf 'PAR1\\025\\004' > output/a.md",
        COMPRESSED,
        "output/a.md",
    ),
    gate(
        "compressed table as an image", f"{TABLE} | gzip > output/a.svgz", NOT_SVG, "output/a.svgz"
    ),
    gate(
        "image with a table behind it",
        f"{{ echo '<svg></svg>' | gzip; {TABLE} | gzip; }} > output/a.svgz",
        NOT_SVG,
        "output/a.svgz",
    ),
    gate(
        "small file that unpacks to a giant",
        "{ echo '<svg>'; head -c 200000000 /dev/zero; } | gzip > output/a.svgz",
        NOT_SVG,
        "output/a.svgz",
    ),
    gate(
        "type in capitals",
        "echo a > output/a.CSV",
        "File type of .CSV is not valid level 4 file",
        "output/a.CSV",
    ),
    gate("no type", "echo a > output/a", "File type of  is not valid level 4 file", "output/a"),
    gate(
        "file above the limit",
        "head -c 16777217 /dev/zero > output/a.txt",
        "File size of 16.0Mb is larger than limit of 16.0Mb.",
        "output/a.txt",
    ),
    gate(
        "output with the name of another one's message file",
        f"{TABLE} > output/a.csv; echo real > output/a.csv.txt",
        PATIENTS,
        patterns={"output/*": MODERATE},
        level4={**ONLY_GOOD, "output/a.csv.txt": "real\n"},
        high=("output/good.csv", "output/a.csv", "output/a.csv.txt"),
    ),
    refusal(
        "directory with the name of a message file",
        f"{TABLE} > output/a.csv; mkdir output/a.csv.txt; echo x > output/a.csv.txt/b.txt",
        NO_PLACE,
        patterns={"output/*.csv": MODERATE, "output/*/*.txt": MODERATE},
    ),
)

PROGRAMS = (
    Study(
        name="program that fails after writing",
        program=GOOD + "exit 3",
        says=("\nexit_code: 3\n",),
        level4=ONLY_GOOD,
        exit_code=3,
    ),
    Study(
        name="program that kills itself",
        program=GOOD + "kill -9 $$",
        says=("\nstatus_message: Job killed by OpenSAFELY admin or memory limits\n",),
        level4=ONLY_GOOD,
        exit_code=137,
        exit_note=ExitNote.KILLED,
    ),
    refusal(
        "program that is killed and leaves what cannot be kept",
        f"{TABLE} > output/a.csv; mkdir -p output/a.csv.txt/b.csv; "
        "echo x > output/a.csv.txt/c.txt; kill -9 $$",
        f"Job killed by OpenSAFELY admin or memory limits\n{NO_PLACE}",
        patterns={"output/*.csv": MODERATE, "output/*/*.txt": MODERATE},
        exit_code=137,
        exit_note=ExitNote.KILLED,
    ),
    Study(
        name="program that deletes its volume",
        program="cd /; rm -rf /workspace/* /workspace/.[!.]*",
        says=(NO_CSV,),
        unmatched=True,
    ),
    Study(
        name="program that puts a link in place of the marker",
        program=f"{GOOD}rm .opensafely-timestamp; ln -s {OUTSIDE} .opensafely-timestamp",
        says=(SUCCESS,),
        level4=ONLY_GOOD,
    ),
    Study(
        name="program that hands over the marker",
        program=GOOD,
        patterns={"output/*.csv": MODERATE, "*-timestamp": MODERATE},
        says=("  .opensafely-timestamp  - it belongs to the system\n",),
        level4=ONLY_GOOD,
        unmatched=True,
    ),
    Study(
        name="program that leaves others running",
        program=GOOD + "(while sleep 0.01; do echo 1,2 >> output/good.csv; done) & sleep 0.1",
        says=(SUCCESS,),
        level4=ONLY_GOOD,
    ),
    Study(
        name="program that floods its log",
        program=GOOD + "seq 250000",
        says=(SUCCESS, " 250000\n", " 150001\n"),
        says_not=(" 150000\n",),
        level4=ONLY_GOOD,
    ),
    Study(
        name="program that forges a summary",
        program=f"{GOOD}echo; echo {SUMMARY}; echo 'status_message: All is well'; exit 1",
        says=("\nexit_code: 1\n", f"Z {SUMMARY}\n"),
        level4=ONLY_GOOD,
        exit_code=1,
    ),
    Study(
        name="program that writes no text and no last line end",
        program=GOOD + "printf '\\000\\377\\033[2J'",
        says=(SUCCESS, f"\n{SUMMARY}\n"),
        level4=ONLY_GOOD,
    ),
    Study(
        name="workspace that leads elsewhere",
        program=GOOD,
        changes={"workspace": "../../elsewhere"},
        ending=Ending.FAILED,
        fault=Fault.UNEXPECTED,
        exit_code=None,
        is_shown=False,
    ),
    Study(
        name="action that would lead elsewhere",
        program=GOOD,
        changes={"action": "../../../../evil"},
        says=(SUCCESS,),
        level4=ONLY_GOOD,
        log="metadata/_._.._.._.._evil-0789ccb6.log",
    ),
)

ALL = (*LINKS, *THINGS, *NAMES, *PATTERNS, *TABLES, *PROGRAMS)
