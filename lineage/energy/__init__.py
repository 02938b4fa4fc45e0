"""What work costs in joules: intervals measured where the machine lets us, and what was counted
turned into an estimate. Every figure is a PowerCost that says how it is known (`measured`,
`estimated` or `declared`) and by which meter, with the sources of its constants."""

from lineage.energy.counters import CpuTime as CpuTime
from lineage.energy.counters import Nvml as Nvml
from lineage.energy.counters import Rapl as Rapl
from lineage.energy.estimates import A100 as A100
from lineage.energy.estimates import ASSUMED_PRECISION as ASSUMED_PRECISION
from lineage.energy.estimates import DEVICES as DEVICES
from lineage.energy.estimates import JOULES_PER_OPERATION as JOULES_PER_OPERATION
from lineage.energy.estimates import DeviceProfile as DeviceProfile
from lineage.energy.estimates import power_limit_estimate as power_limit_estimate
from lineage.energy.estimates import serving_estimate as serving_estimate
from lineage.energy.estimates import training_estimate as training_estimate
from lineage.energy.meters import Interval as Interval
from lineage.energy.meters import Meter as Meter
from lineage.energy.meters import measure as measure
from lineage.energy.meters import meter as meter
from lineage.energy.reports import codecarbon_costs as codecarbon_costs
from lineage.energy.site import Site as Site
