// SPDX-License-Identifier: GPL-2.0
// The life cycle: construct, resume, suspend.
#include "target/target.h"

namespace ploop {

Target::Target(ploop_host *host)
	: host_(host), stack_(host), submitter_(host, policy_, gate_, stack_, map_, dirty_, pool_,
						transfers_, inbox_, outage_, flushes_),
	  transfers_(host, stack_, inbox_, outage_), inbox_(host), modes_(host, gate_, inbox_),
	  dirty_(host), alarm_(host),
	  pool_(host, inbox_, policy_, modes_, stack_, space_, new_places_),
	  endings_(outage_, flushes_), new_places_(host, gate_, stack_, map_, space_, dirty_, pool_,
						   transfers_, inbox_, outage_, endings_),
	  ranges_(host, inbox_, policy_, gate_, stack_, map_, space_, dirty_, new_places_, outage_,
		  endings_, quarantine_),
	  quarantine_(host, inbox_, modes_, stack_, space_, dirty_, outage_),
	  committer_(host, inbox_, policy_, gate_, modes_, stack_, map_, dirty_, quarantine_,
		     outage_),
	  flushes_(host, inbox_, policy_, gate_, modes_, stack_, dirty_, committer_),
	  outage_(host, inbox_, policy_, gate_, modes_, alarm_, committer_, quarantine_),
	  low_space_(host, inbox_, stack_, space_, pool_, alarm_),
	  stop_(host, inbox_, policy_, modes_, stack_, space_, dirty_, pool_, new_places_, ranges_,
		committer_, quarantine_, outage_, low_space_)
{
}

Target::~Target()
{
	if (claim_.held)
		registry::release(claim_);
	if (device_ != nullptr)
		registry::drop_device(device_);
}

void Target::set_options(const ploop_table &table, const TableLine &line)
{
	stack_.shape(line.geometry, line.options.skip_sectors, table.nr_sectors);
	policy_.read_only = table.read_only;
	policy_.no_blkcg = line.options.no_blkcg;
	policy_.fallocate_new.store_relaxed(line.options.fallocate_new);
	policy_.retry_ms.store_relaxed(line.options.retry_ms);
	policy_.timeout_s.store_relaxed(line.options.timeout_s);
	policy_.error_if_no_space.store_relaxed(line.options.error_if_no_space);
	low_space_.set_mark_mib(line.options.low_water_mib);
	modes_.begin(table.read_only ? Mode::ro : Mode::rw);
}

Status Target::construct(const ploop_table &table, unsigned int argc, char **argv, Text &error)
{
	TableLine line;
	DeltaName name;
	bool has_bitmap = false;
	Delta &top = stack_.top();

	PLOOP_TRY(parse_table_line(argc, argv, line, error));
	if (line.nr_deltas > 1) {
		error << line.nr_deltas << " deltas given; one is served";
		return Status::error(kEOPNOTSUPP);
	}
	PLOOP_TRY(parse_delta(line.deltas[0], name, error));
	if (name.raw) {
		error << "delta " << line.deltas[0] << ": a raw delta cannot be the top one";
		return Status::error(kEOPNOTSUPP);
	}
	set_options(table, line);

	PLOOP_TRY(top.open(name, !policy_.read_only, error));
	claim_.file_id[0] = top.facts().id[0];
	claim_.file_id[1] = top.facts().id[1];
	claim_.device_id = ph_device_id(host_);
	claim_.writes = !policy_.read_only;
	if (!policy_.read_only)
		PLOOP_TRY(top.check_earlier_writes(name, registry::held_by_predecessor(claim_),
						   error));
	PLOOP_TRY(top.read_header(stack_.geometry(), stack_.sectors(), error));
	if (!policy_.read_only)
		PLOOP_TRY(top.check_extension(has_bitmap, error));
	if (const Status status = create_parts(); !status.ok())
		return explain_parts(status, error);
	// While another instance runs on the file, its BAT is not settled: the
	// resume of this one will read it.
	if (registry::held_by_other(claim_))
		return {};
	return top.read_map(map_, space_, error);
}

Status Target::explain_parts(Status status, Text &error) const
{
	if (stack_.clusters() > kMapLongest)
		error << "table has " << stack_.clusters() << " clusters, more than the "
		      << kMapLongest << " that a map can have; use larger clusters";
	else if (status.code() == -kEFBIG)
		error << "image has " << stack_.top().header().entries
		      << " BAT entries, more than can be served";
	else
		error << "no memory for the map of " << stack_.top().header().entries
		      << " BAT entries";
	return status;
}

Status Target::create_parts()
{
	const uint64_t entries = stack_.top().header().entries;

	if (stack_.clusters() > kMapLongest)
		return Status::error(kEFBIG);
	PLOOP_TRY(map_.allocate(static_cast<uint32_t>(stack_.clusters())));
	PLOOP_TRY(dirty_.allocate(map_.pages()));
	// All clusters mapped, and as many in quarantine: who needs more waits for that
	// to empty.
	PLOOP_TRY(space_.allocate(stack_.top().bat_clusters() + 2 * entries + 1024));
	PLOOP_TRY(pool_.create());
	PLOOP_TRY(ranges_.create());
	PLOOP_TRY(quarantine_.create(space_.limit()));
	PLOOP_TRY(committer_.create(map_.pages()));
	PLOOP_TRY(low_space_.create());
	PLOOP_TRY(stop_.create());
	device_ = registry::get_device(ph_device_id(host_));
	if (device_ == nullptr)
		return Status::error(kENOMEM);
	alarm_.set_events(&device_->events);
	return {};
}

void Target::limits(ploop_limits &limits) const
{
	limits.cluster_sectors = stack_.geometry().cluster_sectors();
	limits.dio_align_bytes = stack_.top().facts().dio_align_bytes;
	limits.no_blkcg = policy_.no_blkcg;
	limits.first_cluster_sector = (stack_.geometry().cluster_sectors() -
				       stack_.geometry().sector_in_cluster(stack_.skip_sectors())) %
				      stack_.geometry().cluster_sectors();
}

// ---- Resume ----------------------------------------------------------------

Status Target::preresume()
{
	char buffer[PLOOP_ERROR_BYTES];
	Text error(buffer, sizeof(buffer));

	if (running_)
		return {};
	const Status status = start(error);
	if (!status.ok()) {
		char line[PLOOP_ERROR_BYTES + 64];
		Text text(line, sizeof(line));
		text << "cannot resume, error " << status.code() << ": " << buffer;
		ph_log(host_, PLOOP_LOG_ERROR, line);
		// What is unwritten keeps the image from others.
		if (claim_.held && !claim_.unwritten.present())
			registry::release(claim_);
		return status;
	}
	stop_.reset();
	gate_.reset();
	modes_.begin(policy_.read_only ? Mode::ro : Mode::rw);
	if (!policy_.read_only)
		pool_.open();
	publish_counters();
	ph_start(host_);
	running_ = true;
	// Not where entries were lost: their clusters may be all that is left of the data.
	if (!policy_.read_only && !device_->map_lost.load_relaxed())
		pool_.reclaim_later();
	return {};
}

Status Target::start(Text &error)
{
	if (modes_.failed()) {
		error << "the map could not be written; remove the device and check the image";
		return Status::error(kEIO);
	}
	if (!registry::hold(claim_)) {
		error << "the image is in use by another ploop device";
		return Status::error(kEBUSY);
	}
	if (claim_.lost) {
		device_->map_lost.store_relaxed(true);
		// What the table before this one acknowledged is not there. Who is above
		// must not take this for the device that it was.
		modes_.begin(Mode::failed);
		error << "the map could not be written under the last table: remove the device "
			 "and check the image, or load the table again to go on without what was "
			 "lost";
		return Status::error(kEIO);
	}
	if (claim_.unwritten.present()) {
		// It stays in our keeping, for a writable table to take over.
		if (policy_.read_only) {
			error << "changes of the map are unwritten: load a writable table first";
			return Status::error(kEROFS);
		}
		PLOOP_TRY(write_unwritten(error));
	} else if (!policy_.read_only) {
		PLOOP_TRY(hear_of_earlier_writes(error));
	}
	PLOOP_TRY(stack_.top().read_header(stack_.geometry(), stack_.sectors(), error));
	if (stack_.top().bat_clusters() + 2 * uint64_t{stack_.top().header().entries} >
	    space_.limit()) {
		error << "BAT entries grew to " << stack_.top().header().entries
		      << " since the table was loaded: load it again";
		return Status::error(kEAGAIN);
	}
	bool has_bitmap = false;
	if (!policy_.read_only)
		PLOOP_TRY(stack_.top().check_extension(has_bitmap, error));
	if (has_bitmap)
		ph_log(host_, PLOOP_LOG_WARNING,
		       "the image's dirty bitmap does not see what is written now: it is stale");
	PLOOP_TRY(stack_.top().read_map(map_, space_, error));
	return policy_.read_only ? Status() : mark_in_use(error);
}

// The file tells an error of writeback to the next sync, also to ours. Here it may be one
// that the instance before this one met, for want of space, and wrote again.
Status Target::hear_of_earlier_writes(Text &error)
{
	WaitedOperation sync(host_);

	if (!sync.exists()) {
		error << "no memory";
		return Status::error(kENOMEM);
	}
	const Status status = Status::from(sync.run(PLOOP_OP_SYNC, stack_.top().file(), 0, 0));
	if (status.ok() || status.no_space())
		return {};
	error << "an earlier write to the image failed; check it, and resume again";
	return status;
}

// What the last suspend could not write is written first: it is newer than what
// is on disk. If that fails, it is kept, and the next resume tries again.
Status Target::write_unwritten(Text &error)
{
	bool lost = false;
	Status status = claim_.unwritten.write(host_, stack_.top(), lost);

	// The first time it may be told of what the instance before this one met.
	if (status.no_space())
		status = claim_.unwritten.write(host_, stack_.top(), lost);
	if (status.no_space() || status.code() == -kENOMEM) {
		error << "no space or memory to write the map; free some and resume again";
		return status;
	}
	if (!status.ok() && !lost) {
		error << "the map cannot be written now; see the file system below, and resume "
			 "again";
		return status;
	}
	if (!status.ok()) {
		error << "the map cannot be written; remove the device and check the image";
		// An error that a sync has told once is forgotten by the next one: no
		// other instance may take these entries over.
		modes_.begin(Mode::failed);
		claim_.unwritten.written();
		return status;
	}
	stop_.set_marked(claim_.unwritten.marked());
	if (map_.pages() == 0)
		claim_.unwritten.give_back(map_, dirty_);
	else
		claim_.unwritten.written();
	return {};
}

Status Target::mark_in_use(Text &error)
{
	WaitedOperation reserve(host_);

	// Later overwrites of the BAT must not need new space. Where the host
	// cannot promise that, a commit may have to wait for space: no error.
	if (reserve.exists())
		reserve.run(PLOOP_OP_RESERVE, stack_.top().file(), 0,
			    uint64_t{map_.pages()} * kBatPageBytes);
	if (stack_.top().header().in_use == kInUse)
		return {};
	const Status status = stack_.top().write_in_use(kInUse);
	// Even if only its sync has failed, and the next resume finds it.
	stop_.set_marked(stop_.marked() || stack_.top().header().in_use == kInUse);
	if (status.no_space()) {
		// A host that copies on write has no room for it now. What is mapped
		// can be used all the same, and that is worth more than the mark.
		ph_log(host_, PLOOP_LOG_WARNING,
		       "no space for the in-use mark: other programs may take the image for "
		       "closed; free some");
		return {};
	}
	if (!status.ok())
		error << "the in-use mark cannot be written";
	return status;
}

void Target::resume()
{
	must_hold(running_ && claim_.held, "8: who runs has read the map, alone");
	policy_.set_suspending(Suspending::none);
	inbox_.signal(kSignalUndone);
}

// ---- Suspend ---------------------------------------------------------------

void Target::presuspend(bool noflush)
{
	policy_.set_suspending(noflush ? Suspending::noflush : Suspending::flush);
	if (running_)
		inbox_.signal(kSignalSuspend);
}

void Target::presuspend_undo()
{
	policy_.set_suspending(Suspending::none);
	if (running_)
		inbox_.signal(kSignalUndone);
}

void Target::postsuspend()
{
	if (!running_)
		return;
	stop_.prepare_wait();
	inbox_.signal(kSignalStop);
	stop_.wait();
	ph_quiesce(host_);
	running_ = false;
	quarantine_.forget();
	if (modes_.failed()) {
		claim_.lost = true; // and keeps the image, until somebody was told
		return;
	}
	// A mark that could not be taken back is an unwritten change, too.
	if (stop_.status().ok() && !stop_.marked())
		return registry::release(claim_);
	claim_.unwritten.keep(map_, dirty_, stop_.marked());
	ph_log(host_, PLOOP_LOG_ERROR,
	       "suspended with unwritten changes of the image: free space, or mend what is "
	       "below, and resume; to remove the device now loses them");
}

} // namespace ploop
