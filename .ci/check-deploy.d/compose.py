"""Runs the services of a compose file with the program in place of the image, and sends requests.

    compose.py GATEWAY COMPOSE-FILE-AS-JSON
"""

import json
import subprocess
import sys
import tempfile
import time
import urllib.request

HARDENED = {"read_only": True, "cap_drop": ["ALL"], "user": "65532:65532", "security_opt": ["no-new-privileges:true"]}
DIRECT = urllib.request.build_opener(urllib.request.ProxyHandler({}))


def ask(url: str):
    with DIRECT.open(url, timeout=5) as answer:
        return answer.headers, json.load(answer)


def healthy(program: str, service: dict) -> bool:
    test = service["healthcheck"]["test"]
    if test[:2] != ["CMD", "/pai-image-gateway"]:
        sys.exit(f"compose: the image has no {test}")
    return subprocess.run([program, *test[2:]], capture_output=True, timeout=10).returncode == 0


def main() -> None:
    program = sys.argv[1]
    with open(sys.argv[2]) as file:
        services = json.load(file)["services"]
    for name, service in services.items():
        lax = {key: value for key, value in HARDENED.items() if service.get(key) != value}
        if lax:
            sys.exit(f"compose: {name} lacks {lax}")
    log = tempfile.TemporaryFile()
    running = [
        subprocess.Popen([program, *service["command"]], env=service.get("environment") or {}, stdout=subprocess.DEVNULL, stderr=log)
        for service in (services["origin"], services["gateway"])
    ]
    try:
        deadline = time.monotonic() + 15
        while not healthy(program, services["gateway"]):
            if time.monotonic() > deadline:
                sys.exit("compose: the gateway is not healthy after 15 s")
            time.sleep(0.1)
        _, images = ask("http://127.0.0.1:9100/emulator/images?limit=1")
        text = json.dumps(images)
        image = text[text.index("image-") :].split('"')[0]
        for outcome in ("fwd=uri-miss; stored", "hit; ttl="):
            headers, body = ask(f"http://127.0.0.1:8080/api/v1/images/{image}")
            if outcome not in headers["Cache-Status"] or "ImageUri" not in body:
                sys.exit(f"compose: {headers['Cache-Status']}, not {outcome}")
    finally:
        for process in running:
            process.terminate()
        codes = [process.wait(30) for process in running]
    if any(codes):
        log.seek(0)
        sys.stderr.buffer.write(log.read())
        sys.exit(f"compose: ended with {codes}")
    print(f"the compose file's commands work together: a miss, then a hit, of {image}")


main()
