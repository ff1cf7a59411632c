//! docs/emulator.md: the control routes and the faults of the emulated origin.

use std::fmt::Write as _;

use crate::emulator::{CONTROL_ROUTES, FAULT_KINDS, Store};

const INTRODUCTION: &str = "\
`pai-image-gateway emulate` runs an origin without an account: it verifies the signature of every request, answers like \
AIWorkSpace, and fails by script. It prints the `serve` line of a gateway in front of it. Tests and `demo` use the same \
origin. Its control routes have no authentication: let it listen on loopback only.
";

const RECORDED: &str = "\
`--fixtures DIR` takes answers that `pai-image-gateway probe --record DIR` wrote: a call that was recorded gets its \
answer, by the placeholder of its image and the same query, with the present `Date`. A GetImage of an id that there is \
not gets the recorded answer for one. Any other call is answered as always; faults apply to all.
";

const FAULTS: &str = "\
## Faults

A script is a list of faults. The first one that matches a request and has times left applies; a request whose \
signature is rejected matches none. `POST /emulator/faults` takes a list in JSON, `--faults FILE` the same as \
`[[fault]]` tables in TOML:

```toml
[[fault]]
operation = \"GetImage\"   # absent: any operation
image = \"image-…\"        # absent: any image, and requests without one
after = 0                # matches that pass first
times = 3                # applications; absent: without end
kind = \"latency\"
ms = 200
```

";

/// Renders the page.
pub(super) fn page() -> String {
    let mut page = format!(
        "# The emulated origin\n\n<!-- Printed by `pai-image-gateway docs emulator`. -->\n\n{INTRODUCTION}\n"
    );
    page += &format!(
        "Its images are the same at each start. By the remainder of an image's number divided by 4 it is 0 official, 1 \
         PUBLIC in workspace 15945, 2 PUBLIC in workspace 20817, 3 PRIVATE in workspace 15945. The first one is \
         `{}`, which the examples of the documentation request.\n\n## Control routes\n\n| request | takes | does |\n|---|---|---|\n",
        Store::id(0)
    );
    // Writing to a String cannot fail.
    for route in &CONTROL_ROUTES {
        let (method, path) = (&route.method, route.path);
        let _ = writeln!(
            page,
            "| `{method} /emulator/{path}` | {} | {} |",
            route.takes, route.does
        );
    }
    page.push('\n');
    page += "## Recorded answers\n\n";
    page += RECORDED;
    page.push('\n');
    page += FAULTS;
    page += "| kind | fields | effect | example |\n|---|---|---|---|\n";
    for kind in &FAULT_KINDS {
        let _ = writeln!(
            page,
            "| `{}` | {} | {} | `{}` |",
            kind.name, kind.fields, kind.effect, kind.example
        );
    }
    page
}
