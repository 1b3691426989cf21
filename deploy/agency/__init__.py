"""The stand-in agency: real HTTP on loopback, in the agencies' own paths, over synthetic or replayed rows.

For demos, tests and feeds under construction, without an agency being asked; a tape of recorded answers makes last night's failure
happen again. `app.py` puts the parts together; `routes.yaml`
says what is served where. It is no part of a production deployment.
"""

from deploy.agency.app import AgencyConfig, create_app
from deploy.agency.engine import DEMO_KEY
from deploy.agency.running import running_agency

__all__ = ["DEMO_KEY", "AgencyConfig", "create_app", "running_agency"]
