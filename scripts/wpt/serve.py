"""Serves a checkout of the web platform tests on loopback, by their own server, `wptserve`.

It is taken from the checkout (tools/wptserve) or, where that has no tools, from what is installed (pip install wptserve). Without entries in
the system's hosts file: the tests' own host is `localhost`, and any other `127.0.0.1`, as the tests themselves know it.

Usage: serve.py CHECKOUT KEY CERTIFICATE. Writes a line of JSON, the ports, once it listens; ends with its standard input.
"""

import json
import os
import sys

root, key, certificate = (os.path.abspath(path) for path in sys.argv[1:4])
sys.path.insert(0, root)
if os.path.isdir(os.path.join(root, "tools", "wptserve")):
    from tools import localpaths  # noqa: F401

from wptserve import server, stash  # noqa: E402
from wptserve.config import Config  # noqa: E402

HERE, THERE = "localhost", "127.0.0.1"
SUBDOMAINS = ["www", "www1", "www2", "天気の良い日", "élève"]


def config_of(ports):
    domains = {"": HERE, **{name: THERE for name in SUBDOMAINS}}
    others = {name: THERE for name in domains}
    hosts = {"": domains, "alt": others}
    return Config({
        "browser_host": HERE,
        "server_host": THERE,
        "alternate_hosts": {"alt": THERE},
        "doc_root": root,
        "ports": ports,
        "check_subdomains": False,
        "bind_address": True,
        "domains": hosts,
        "not_domains": {},
        "all_domains": hosts,
        "domains_set": {HERE, THERE},
        "not_domains_set": set(),
        "all_domains_set": {HERE, THERE},
        "ssl_config": {"key_path": key, "cert_path": certificate, "encrypt_after_connect": False},
        "aliases": [],
        "logging": {"level": "CRITICAL", "suppress_handler_traceback": True},
    })


def main():
    os.chdir(root)
    ports = {"ws": [0], "wss": [0]}
    kinds = [("http", {}), ("http", {}), ("https", {"use_ssl": True}), ("https", {"use_ssl": True})]
    kinds.append(("h2", {"use_ssl": True, "http2": True}))
    config = config_of(ports)
    with stash.StashServer(authkey=os.urandom(16).hex()):
        for scheme, more in kinds:
            handler = server.Http2WebTestRequestHandler if scheme == "h2" else server.Http1WebTestRequestHandler
            made = server.WebTestHttpd(host=THERE, port=0, handler_cls=handler, key_file=key, certificate=certificate,
                                       doc_root=root, config=config, **more)
            made.start()
            ports.setdefault(scheme, []).append(made.port)
        # By other names, where a test asks for them.
        for name in ("http-local", "http-public"):
            ports[name] = ports["http"]
        for name in ("https-local", "https-public"):
            ports[name] = ports["https"]
        print(json.dumps(ports), flush=True)
        sys.stdin.read()


if __name__ == "__main__":
    main()
