import subprocess
import sys


def test_a_round_does_not_import_the_web_page():
    code = (
        "import sys; from loadtests.generator import leave_out_web_page; leave_out_web_page();"
        "import loadtests.one_round; sys.exit('flask' in sys.modules or 'locust' not in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-W", "ignore", "-c", code], check=False).returncode == 0
