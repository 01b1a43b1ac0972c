#!/usr/bin/env python3
"""Changes a copy of the source of the crate `v8` so that Debian 12's gn and Zig's clang can build it.

Only build files are changed: what they use of a newer gn is not needed here. A build file that is not as expected ends
this with an error.

    suit_gn.py FOLDER
"""

import pathlib
import re
import sys

NOTHING = ""
# By file: patterns, and what takes the place of what they match.
CHANGES = {
    "build/toolchain/gcc_toolchain.gni": [
        # C++ modules, which are off.
        (r"\s*\{\{module_deps[a-z_]*\}\}", NOTHING),
        (r' -fmodule-name=\\"\{\{cc_module_name\}\}(_Private)?\\"', NOTHING),
        # Inputs of tools.
        (r'        inputs =\n            \[ get_path_info\(rebase_path\(ar, "\.", root_out_dir\), "abspath"\) \]\n', NOTHING),
        (r"        inputs = rustc_wrapper_inputs\n", NOTHING),
    ],
    "build/config/compiler/BUILD.gn": [
        (r"\n[ \t]*(c|cc|objc|objcc)_additional_outputs\s*=\s*(\[[^\]]*\]|[a-z_]+)", NOTHING),
        (r"path_exists\(_head_revision_stamp_path\)", "false"),
    ],
    "build/toolchain/siso.gni": [(r"(?s)_is_ninja_used = .*?(?=declare_args\(\))", NOTHING)],
    "build/config/sysroot.gni": [(r"path_exists\(sysroot\),", "true,")],
    "build/config/c++/modules.gni": [(r"path_exists\(path\),", "true,")],
    "buildtools/third_party/libc++/BUILD.gn": [
        (r'(?s)  action\("generate_libcxx_modulemap"\) \{.*?\n  \}\n', NOTHING)
    ],
}

root = pathlib.Path(sys.argv[1])
for name, changes in CHANGES.items():
    path = root / name
    text = path.read_text()
    for pattern, replacement in changes:
        text, count = re.subn(pattern, replacement, text)
        if count == 0:
            sys.exit(f"{name} has no {pattern}")
    path.write_text(text)
