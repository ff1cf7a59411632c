"""Runs the rows of one group: group.py GROUP FILTER. Rows register themselves with `@row`."""

import importlib
import sys
import time
import traceback

import rows


def main():
    group, wanted = sys.argv[1:3]
    importlib.import_module(group)
    failed = 0
    for text, attack in rows.REGISTERED:
        if wanted not in group and wanted not in text:
            continue
        began = time.monotonic()
        try:
            word, measured = 'ok  ', attack()
        except rows.Skipped as reason:
            word, measured = 'skip', str(reason)
        except rows.Failed as reason:
            word, measured = 'FAIL', str(reason)
        except Exception as error:  # A row that raises proves nothing, so it fails.
            word, measured = 'FAIL', f'{type(error).__name__}: {error}'
            traceback.print_exc()
        finally:
            rows.clean_up()
        failed += word == 'FAIL'
        print(f'{word} {group}: {text}: {measured} ({time.monotonic() - began:.1f} s)', flush=True)
    sys.exit(1 if failed else 0)


if __name__ == '__main__':
    main()
