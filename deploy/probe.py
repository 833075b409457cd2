"""Whether a path of this container's nextact answers 200; the image has no curl. Usage: python probe.py /readyz"""

import os
import sys
import urllib.error
import urllib.request

url = f"http://127.0.0.1:{os.environ['NEXTACT_HTTP_PORT']}{sys.argv[1]}"
try:
    with urllib.request.urlopen(url, timeout=3) as response:
        sys.stdout.write(response.read().decode())
except urllib.error.HTTPError as refusal:  # 503 says why
    sys.exit(f"{refusal.code} {refusal.read().decode()}")
except OSError as error:
    sys.exit(f"{url}: {error}")
