"""The checker of types while tests run.

An int is a float, as PEP 484 has it. Of a sequence it checks the first item, where by default it
draws one, which would move the random state that tests watch.
"""

from beartype import BeartypeConf, beartype

checked = beartype(conf=BeartypeConf(is_pep484_tower=True, is_random=False))
