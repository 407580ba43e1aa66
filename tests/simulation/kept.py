"""Seeds whose history once broke, and what each found. Drawing changes their meaning: keep the finding, not the
luck, and pin it as a unit test too.
"""

from typing import Final

KEPT: Final[dict[int, str]] = {
    12: "the end of bad weather has to be waited for before directories are compared",
    52: "a holder answered for its digest before it knew the asker as an elector, and was never asked again",
    211: "the simulator itself: a copy killed while its node stood still looked like one sent requests",
    298: "a lost announcement: a holder went on with the old generation; it is handed the newer record now",
    649: "a link that broke while its hello was sent: its late end was taken for the end of the next link",
    1026: "a record announced on a breaking link never came: what came while a member was away is handed on",
    1229: "the last node left while another was joining through it: nobody to join is no broken mesh",
    2399: "the simulator itself: a restarted node forgot its address book when its one contact had gone",
    1270: "a claim was acknowledged by three electors, and never came to the other two",
}
