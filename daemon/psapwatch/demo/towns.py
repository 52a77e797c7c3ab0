"""204 municipalities of Massachusetts by county, and which of the demo's firewalls they are behind.

Names only: the demo's answering points stand on loopback, and nothing here is anybody's system.
The counties make 102 towns on each side, so that a county is wholly behind one firewall.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final

EAST: Final = "fw-east"
WEST: Final = "fw-west"
FIREWALLS: Final = (EAST, WEST)


@dataclass(frozen=True, slots=True)
class Town:
    """One town with an answering point."""

    name: str
    county: str
    firewall: str

    @property
    def id(self) -> str:
        """The PSAP's id: ``ma-fall-river``."""
        return f"ma-{re.sub('[^a-z]+', '-', self.name.lower())}"


_EAST: Final = {
    "Barnstable": """
        Barnstable, Bourne, Brewster, Chatham, Dennis, Eastham, Falmouth, Harwich, Mashpee,
        Orleans, Provincetown, Sandwich, Truro, Wellfleet, Yarmouth
    """,
    "Bristol": """
        Acushnet, Attleboro, Berkley, Dartmouth, Dighton, Easton, Fairhaven, Fall River,
        Freetown, Mansfield, New Bedford, North Attleborough, Norton, Raynham, Rehoboth,
        Seekonk, Somerset, Swansea, Taunton, Westport
    """,
    "Dukes": """
        Aquinnah, Chilmark, Edgartown, Gosnold, Oak Bluffs, Tisbury, West Tisbury
    """,
    "Nantucket": "Nantucket",
    "Norfolk": """
        Avon, Bellingham, Braintree, Brookline, Canton, Cohasset, Dedham, Dover, Foxborough,
        Franklin, Holbrook, Medfield, Medway, Millis, Milton, Needham, Norfolk, Norwood,
        Plainville, Quincy, Randolph, Sharon, Stoughton, Walpole, Wellesley, Westwood, Weymouth,
        Wrentham
    """,
    "Plymouth": """
        Abington, Bridgewater, Brockton, Carver, Duxbury, East Bridgewater, Halifax, Hanover,
        Hanson, Hingham, Hull, Kingston, Lakeville, Marion, Marshfield, Mattapoisett,
        Middleborough, Norwell, Pembroke, Plymouth, Plympton, Rochester, Rockland, Scituate,
        Wareham, West Bridgewater, Whitman
    """,
    "Suffolk": "Boston, Chelsea, Revere, Winthrop",
}
_WEST: Final = {
    "Berkshire": """
        Adams, Alford, Becket, Cheshire, Clarksburg, Dalton, Egremont, Florida, Great
        Barrington, Hancock, Hinsdale, Lanesborough, Lee, Lenox, Monterey, Mount Washington, New
        Ashford, New Marlborough, North Adams, Otis, Peru, Pittsfield, Richmond, Sandisfield,
        Savoy, Sheffield, Stockbridge, Tyringham, Washington, West Stockbridge, Williamstown,
        Windsor
    """,
    "Franklin": """
        Ashfield, Bernardston, Buckland, Charlemont, Colrain, Conway, Deerfield, Erving, Gill,
        Greenfield, Hawley, Heath, Leverett, Leyden, Monroe, Montague, New Salem, Northfield,
        Orange, Rowe, Shelburne, Shutesbury, Sunderland, Warwick, Wendell, Whately
    """,
    "Hampden": """
        Agawam, Blandford, Brimfield, Chester, Chicopee, East Longmeadow, Granville, Hampden,
        Holland, Holyoke, Longmeadow, Ludlow, Monson, Montgomery, Palmer, Russell, Southwick,
        Springfield, Tolland, Wales, West Springfield, Westfield, Wilbraham
    """,
    "Hampshire": """
        Amherst, Belchertown, Chesterfield, Cummington, Easthampton, Goshen, Granby, Hadley,
        Hatfield, Huntington, Middlefield, Northampton, Pelham, Plainfield, South Hadley,
        Southampton, Ware, Westhampton, Williamsburg, Worthington
    """,
    "Worcester": "Worcester",
}
_SIDES: Final = ((EAST, _EAST), (WEST, _WEST))

TOWNS: Final = tuple(
    Town(" ".join(name.split()), county, firewall)
    for firewall, counties in _SIDES
    for county, names in counties.items()
    for name in names.split(",")
)
COUNTIES: Final = {county: firewall for firewall, counties in _SIDES for county in counties}
"""The firewall that each county is behind."""
