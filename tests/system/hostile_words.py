"""What an attacker writes into a request: names, targets, lengths, and lines of all kinds.

In a pattern ``<h>`` is the host that a request is for, ``<H>`` the same in capitals, ``<o>`` the
host that a trick would like to reach, ``<n>`` a length; each character stands for one byte.
"""

_UTF8 = "\xef\xbd\x8fne.localhost"  # a full-width o, byte by byte

NAMES = (
    *("<h>", "<H>", "<h>.", "<h>..", ".<h>", "<h>:80", "<h>:", "<h>:0", "<h>:99999", "<h>:80:80"),
    *("<h>:<o>", "<h>:80@<o>", "me@<h>", "me:pw@<h>", "<h>@<o>", "<h>#<o>", "<h>/<o>", "<h>\\<o>"),
    *("<h>?<o>", "<h> <o>", "<h>\t<o>", "<h>,<o>", "<h>;<o>", "<h>, <o>", "<h>%00.<o>", "<h>\0"),
    *("\0<h>", "<h>\0.<o>", "<h>\x0b", "\x0c<h>", "<h>\x85", "<h>\xa0", "\xf8ne.localhost", _UTF8),
    *("one\xe3\x80\x82localhost", "xn--ne-cka.localhost", "%6fne.localhost", "one%2elocalhost"),
    *("127.0.0.1", "[::1]", "[::1", "::1", "[<h>]", "[::ffff:127.0.0.1]:80", "169.254.169.254"),
    *("0x7f.1", "2130706433", "0", "metadata.google.internal", "localhost", "localhost.", "marker"),
    *("pages", "late", "_", "~^", "~.*", "*.localhost", "default", "hostnames", "$host", "${host}"),
    *("<h>$target", "unix:run/pages.sock", "unix:", "x.<h>", "<h>.evil.example", "evil<h>", "one"),
    *("<h>.localhost", "branchfront.localhost", "-<h>", '"<h>"', "'<h>'", "<<h>>", "<h>-", "-"),
    *("a" * 64 + ".localhost", "a" * 300, "<h>:" + "9" * 400, "." * 200, "<h>" + "." * 100, ""),
    *(" ", "   <h>   ", "\t<h>\t", "http://<h>", "http://<o>/", "//<o>", "<h>:80/", "<h>:8a"),
    *("<h>:+80", "<h>:-1", "<h>: 80", "<h>|<o>", "<h>&<o>", "<h>`<o>", "{<h>}", "<h>^", "(<h>)"),
)

NAME_LINES = (
    *(("Host: <h>", "Host: <o>"), ("Host: <o>", "Host: <h>"), ("Host: <h>", "Host: <h>")),
    *(("Host: <h>", "hOsT: <o>"), ("Host: <h>", "Host:"), ("Host:", "Host: <o>"), ("Host:",)),
    *((), ("Host",), ("Host <h>",), ("Host : <h>",), ("Host\t: <h>",), (" Host: <h>",)),
    *(("X: y", " Host: <o>", "Host: <h>"), ("Host: <h>", " <o>"), ("Host: <h>", "\t.evil.example")),
    *(("Host: <h>\rHost: <o>",), ("Host: <h>\nHost: <o>",), ("Host:\r\n <h>",), ("HOST:<h>",)),
    *(("Hos\0t: <o>", "Host: <h>"), ("Host\0: <o>", "Host: <h>"), ("Host: <h>", "Host\x0b: <o>")),
    *(("Host: <h>", "X-Host: <o>"), ("Host: <h>", "Http-Host: <o>"), ("Host: <h>", ":host: <o>")),
    *(("Host: <h>", ":authority: <o>"), ("Host: <h>", "H_ost: <o>"), ("Host_: <o>", "Host: <h>")),
    *(("\xefHost: <o>", "Host: <h>"), ("Host: <h>", "Host\xa0: <o>"), ("Host: <h>", ": <o>")),
)

METHODS = (
    *(b"get", b"POST", b"HEAD", b"OPTIONS", b"TRACE", b"TRACK", b"CONNECT", b"DEBUG", b"PROPFIND"),
    *(b"G ET", b"GET\0", b"", b"{}", b"GET\t", b"PRI", b"M-SEARCH", b"_X", b"GET GET", b"GET /x"),
    *(b"\xffGET", b"DELETE", b"PATCH", b"COPY", b"MOVE", b"LOCK", b"SEARCH", b"QUERY", b"GET\r\n"),
)

VERSIONS = (
    *(b" HTTP/1.0", b" HTTP/0.9", b"", b" HTTP/1.2", b" HTTP/1.10", b" HTTP/2.0", b" HTTP/3"),
    *(b" http/1.1", b" HTTP/1.1x", b" HTTP/01.1", b" HTTP/1", b" HTTPS/1.1", b" HTTP /1.1", b" "),
    *(b"  HTTP/1.1", b" HTTP/1.1 ", b"\tHTTP/1.1", b" HTTP/1.1\t", b" HTTP/1.1\0", b" ICY/1.0"),
    *(b" HTTP/9999.9999", b" HTTP/1.1 HTTP/1.1", b"?HTTP/1.1", b" HTTP\\1.1", b" HTTP/1,1"),
)

TARGETS = (
    *("http://<o>/", "HTTP://<o>/", "https://<o>/", "ftp://<o>/x", "http://<o>:80/", "http://<o>"),
    *("http://<o>?x=1", "http://<o>#x", "http:///", "http://:80/", "http:<o>/", "http:/<o>/"),
    *("//<o>/", "///<o>/", "/http://<o>/", "http://[::1]/", "http://169.254.169.254/latest/"),
    *(
        "http://me@<o>/",
        "http://<h>@<o>/",
        "http://<h>:80@<o>/",
        "http://<h>#@<o>/",
        "http://@<o>/",
    ),
    *(
        "http://<h>\\@<o>/",
        "http://<h>%2f@<o>/",
        "http://<h>%2f<o>/",
        "http://<o>./",
        "http://<o>:/",
    ),
    *("http://<H>/", "a+b.c-d://<o>/", "1http://<o>/", "://<o>/", "http//<o>/", "http:\\\\<o>\\"),
    *(
        "unix:/run/pages.sock",
        "http://unix:run/pages.sock:/",
        "file:///etc/passwd",
        "<o>:80",
        "<o>",
    ),
    *("*", "?x", "#", "", "http://<o> /", "http://<o>\t/", " /", "/ /", "http://<o>/ http://<h>/"),
    *("http://<o>\0/", "http://\0<o>/", "http://<o>:99999/", "http://<o>:8a/", "http://<o>:80:80/"),
    *(
        "http://\xf8ne.localhost/",
        "http://%6fne.localhost/",
        "http://<o>/http://<h>/",
        "javascript:x",
    ),
    *("http://<o>;<h>/", "http://<o>,<h>/", "http://localhost/", "http://marker/generation"),
    *(
        "http://$host/",
        "http://${target}/",
        "http://pages/404.html",
        "http://[<o>]/",
        "http://<o>?@<h>/",
    ),
)

PATHS = (
    *("/..", "/../../etc/passwd", "/%2e%2e/", "/%2F", "//", "/./", "/;x", "/;/../", "/%00", "/%"),
    *("/%zz", "/\\..\\", "/a%0d%0aHost:%20<o>", "/\xff", "/\xc3\xa9", "/a#b", "/{", "/}", "/\0"),
    *(
        "/pages/404.html",
        "/generation",
        "/@page",
        "/$uri",
        "/${target}",
        "/%c0%ae%c0%ae/",
        "/?a=/../",
    ),
    *(
        "/x?y?z",
        "/.git/config",
        "/index.html",
        "/ws",
        "/a/b/..%2fc",
        "/..;/",
        "/%2e/",
        "/\x7f",
        "/\x01",
    ),
    *(
        '/"',
        "/'",
        "/<o>",
        "/http://<o>/",
        "/a b",
        "/a%20b",
        "/a+b",
        "/~",
        "/*",
        "/@late",
        "/598",
        "/|",
    ),
)

LYING = (
    *(
        b"X-Forwarded-For",
        b"X-Forwarded-Host",
        b"X-Forwarded-Proto",
        b"X-Forwarded-Port",
        b"Forwarded",
    ),
    *(b"X_Forwarded_For", b"X_Forwarded_Host", b"X_FORWARDED_PROTO", b"X-Real-IP", b"X_Real_IP"),
    *(b"X-Forwarded-Server", b"X-Forwarded", b"Forwarded-For", b"X-Original-URL", b"X-Rewrite-URL"),
    *(b"X-Request-Id", b"x-forwarded-for", b"X-FORWARDED-HOST", b"X-Forwarded-Prefix", b"Proxy"),
    *(b"X-HTTP-Host-Override", b"X-Original-Host", b"X-Client-IP", b"True-Client-IP", b"X-Host"),
    *(
        b"X-Accel-Redirect",
        b"X-Accel-Buffering",
        b"X-Served-By",
        b"X-Page-Host",
        b"CDN-Loop",
        b"Via",
    ),
    *(b"X-Forwarded-Scheme", b"X-Forwarded-Ssl", b"X-Forwarded-Uri", b"Front-End-Https", b"Host_"),
    *(b"X-Forwarded-By", b"X-Forwarded-User", b"CF-Connecting-IP", b"Fastly-Client-IP", b"Status"),
    *(b"X-Cluster-Client-IP", b"X-Original-Forwarded-For", b"X-Forwarded-Path", b"X-HTTP-Method"),
)

LIES = (
    "6.6.6.6",
    "<o>",
    "for=6.6.6.6;host=<o>",
    "https",
    "",
    "6.6.6.6, 127.0.0.1",
    "/@page",
    "\xff",
)

ODD_LINES = (
    *("Connection: close, X-Forwarded-For, X-Forwarded-Host, X-Request-Id", "Connection: Host"),
    *("Connection: keep-alive, Content-Length", "Connection: upgrade", "Proxy-Connection: close"),
    *("Keep-Alive: timeout=9999", "Expect: 100-continue", "Expect: 6.6.6.6", "TE: trailers"),
    *("Trailer: Host", "Max-Forwards: 0", "Range: bytes=0-0", "Range: bytes=" + "0-," * 300, ":"),
    *("If-Modified-Since: x", "If-Match: *", "no colon at all", " folded", "\tfolded", "X: a\rb"),
    *("X: a\0b", "X\0: a", "X: \x01\x7f", "\x7f: x", "X-Case-: 1", "(x): y", "X: y\r\n z", "\r"),
    *("Authorization: Basic Og==", "Cookie: a=b; c=\xff", "Accept: text/event-stream", "Accept:"),
    *(
        "Accept: application/json",
        "Accept-Encoding: gzip;q=\0",
        "CDN-Loop: branchfront, branchfront",
    ),
    *("CDN-Loop: " + "branchfront, " * 5, "Via: 1.1 <o>", "GET / HTTP/1.1", "Host2: <o>", "\n"),
)

LENGTHS = (
    *("<n>", "<n>", "<n>", "+<n>", "-<n>", "0x<n>", "<n>, <n>", "<n>,0", " <n>", "<n> ", "<n>\0"),
    *("<n>e0", "<n>.0", "", "18446744073709551617", "9223372036854775807", "\xd9\xa3", "<n> 0"),
    *("00<n>", "<n>\x0b", "\x0b<n>", "<n>;x", '"<n>"', "<n>\t"),
)

CODING_LINES = (
    ("Transfer-Encoding: chunked",),
    *(("Transfer-Encoding: Chunked",), ("Transfer-Encoding: xchunked",), ("Transfer-Encoding:",)),
    *(("Transfer-Encoding:\tchunked",), ("Transfer-Encoding: chunked ",), ("TE: chunked",)),
    *(("Transfer-Encoding: \x0bchunked",), ("Transfer-Encoding: chunked\0",)),
    *(("Transfer-Encoding: chunked, identity",), ("Transfer-Encoding: identity, chunked",)),
    *(("Transfer-Encoding: identity",), ("Transfer-Encoding: gzip, chunked",)),
    *(('Transfer-Encoding: "chunked"',), ("Transfer-Encoding: chunked;q=1",)),
    *(("Transfer-Encoding: ,chunked",), ("Transfer-Encoding: chunked,",)),
    *(("Transfer-Encoding: chunked", "Transfer-Encoding: chunked"),),
    *(("Transfer-Encoding: chunked", "Transfer-Encoding: identity"),),
    *(("Transfer-Encoding: x", "transfer-encoding: chunked"),),
    *(("Transfer-Encoding : chunked",), ("Transfer_Encoding: chunked",)),
    *(("Transfer-Encoding\0: chunked",), (" Transfer-Encoding: chunked",)),
    *(("Transfer-Encoding:\r\n chunked",), ("X: y\r\n\tTransfer-Encoding: chunked",)),
    *(("X: y\rTransfer-Encoding: chunked",), ("X: y\nTransfer-Encoding: chunked",)),
    *(("Transfer\xadEncoding: chunked",), ("Transfer-Encoding: chun\xadked",)),
)

CHUNKS = (
    *(
        "<size>\r\n<hidden>\r\n0\r\n\r\n",
        "5\r\nhello\r\n0\r\n\r\n",
        "0\r\n\r\n<hidden>",
        "<hidden>",
    ),
    *("0x5\r\nhello\r\n0\r\n\r\n", "+5\r\nhello\r\n0\r\n\r\n", "-1\r\n<hidden>\r\n0\r\n\r\n"),
    *("5;x=y\r\nhello\r\n0\r\n\r\n", '5;x="\r\n0\r\n\r\n"<hidden>', "5 ;x\r\nhello\r\n0\r\n\r\n"),
    *(
        "5\nhello\n0\n\n<hidden>",
        "5\r\nhello0\r\n\r\n<hidden>",
        "5\r\nhelloxx\r\n0\r\n\r\n<hidden>",
    ),
    *("ffffffffffffffff\r\n<hidden>", "10000000000000000\r\n\r\n<hidden>", "5;\n0\r\n\r\n<hidden>"),
    *(
        "0\r\nHost: <o>\r\nContent-Length: 9\r\n\r\n<hidden>",
        "0;x\r\n\r\n<hidden>",
        "g\r\n<hidden>",
    ),
    *(
        "0\r\nX-Forwarded-For: 6.6.6.6\r\n\r\n",
        "0\r\n<hidden>",
        "00000000\r\n\r\n<hidden>",
        "5\r\nhel",
    ),
    *(
        "5;x\rhello\r\n0\r\n\r\n<hidden>",
        "5\r\r\nhello\r\n0\r\n\r\n<hidden>",
        "\r\n0\r\n\r\n<hidden>",
    ),
    *(
        "2\r\nab\n0\r\n\r\n<hidden>",
        "0\n\n<hidden>",
        "0\r\nX: y\n\n<hidden>",
        "5\r\nhello\r\n 0\r\n\r\n",
    ),
)

BEFORE = (
    *(
        "\r\n",
        "\r\n\r\n\r\n",
        "\n",
        " ",
        "\0",
        "\t\r\n",
        "\r",
        "\x16\x03\x01\x02\0\x01\0\x01\xfc\x03",
    ),
    *("PROXY TCP4 6.6.6.6 127.0.0.1 1 80\r\n", "\r\n\r\n\0\r\nQUIT\n\x21\x11\0\x0c", "GET /\r\n"),
    *(
        "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: <o>\r\n",
        "x\r\n",
        "\xef\xbb\xbf",
    ),
    *("HTTP/1.1 200 OK\r\n\r\n", "GET http://<o>/ HTTP/1.1\r\n", "POST / HTTP/1.0\r\n\r\n", ";"),
)

UPGRADES = (
    [
        b"Connection: Upgrade, HTTP2-Settings",
        b"Upgrade: h2c",
        b"HTTP2-Settings: AAMAAABkAARAAAAAAAIA",
    ],
    [b"Connection: Upgrade", b"Upgrade: websocket", b"Sec-WebSocket-Version: 13"],
    [b"Connection: Upgrade", b"Upgrade: WebSocket", b"Sec-WebSocket-Version: 7"],
    [b"Connection: Upgrade", b"Upgrade: h2c, websocket"],
    [b"Connection: Upgrade", b"Upgrade: websocket, h2c"],
    [b"Connection: Upgrade", b"Upgrade: websocket", b"Upgrade: h2c"],
    [b"Connection: Upgrade", b"Upgrade: TLS/1.0"],
    [b"Upgrade: websocket"],
)
