// SPDX-License-Identifier: GPL-2.0
// The life cycle: construct, resume, suspend, and the way to stillness.
#include "target/target.h"

namespace ploop {

Target::~Target()
{
	if (claim_.held)
		registry::release(claim_);
	if (device_ != nullptr)
		registry::drop_device(device_);
	ph_free(mark_buffer_);
}

Status Target::construct(const ploop_table &table, unsigned int argc, char **argv, Text &error)
{
	TableLine line;
	DeltaName name;

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
	geometry_ = line.geometry;
	skip_sectors_ = line.options.skip_sectors;
	virtual_sectors_ = skip_sectors_ + table.nr_sectors;
	read_only_ = table.read_only;
	fallocate_new_.store_relaxed(line.options.fallocate_new);
	retry_ms_.store_relaxed(line.options.retry_ms);
	timeout_s_.store_relaxed(line.options.timeout_s);
	error_if_no_space_.store_relaxed(line.options.error_if_no_space);
	low_space_.set_mark_mib(line.options.low_water_mib);
	mode_.store_relaxed(static_cast<uint8_t>(read_only_ ? Mode::ro : Mode::rw));

	PLOOP_TRY(image_.open(name, !read_only_, error));
	claim_.file_id[0] = image_.facts().id[0];
	claim_.file_id[1] = image_.facts().id[1];
	claim_.device_id = ph_device_id(host_);
	claim_.writes = !read_only_;
	if (!read_only_)
		PLOOP_TRY(image_.check_earlier_writes(name, registry::held_by_predecessor(claim_),
						      error));
	PLOOP_TRY(image_.read_header(geometry_, virtual_sectors_, error));
	if (const Status status = create_parts(); !status.ok()) {
		const uint64_t clusters = geometry_.clusters_for_sectors(virtual_sectors_);
		if (clusters > kMapLongest)
			error << "table has " << clusters << " clusters, more than the "
			      << kMapLongest << " that a map can have; use larger clusters";
		else if (status.code() == -kEFBIG)
			error << "image has " << image_.header().entries
			      << " BAT entries, more than can be served";
		else
			error << "no memory for the map of " << image_.header().entries
			      << " BAT entries";
		return status;
	}
	// While another instance runs on the file, its BAT is not settled: the
	// resume of this one will read it.
	if (registry::held_by_other(claim_))
		return {};
	return image_.read_map(map_, space_, error);
}

Status Target::create_parts()
{
	const uint64_t wanted = geometry_.clusters_for_sectors(virtual_sectors_);
	const uint64_t entries = image_.header().entries;

	if (wanted > kMapLongest)
		return Status::error(kEFBIG);
	PLOOP_TRY(map_.allocate(static_cast<uint32_t>(wanted)));
	// All clusters mapped, and as many in quarantine: who needs more waits for that
	// to empty.
	PLOOP_TRY(space_.allocate(image_.bat_clusters() + 2 * entries + 1024));
	PLOOP_TRY(writer_.create(host_));
	PLOOP_TRY(committer_.create(host_, map_.pages()));
	PLOOP_TRY(freer_.create(host_));
	PLOOP_TRY(walker_.create(host_));
	PLOOP_TRY(low_space_.create(host_));
	PLOOP_TRY(stop_operation_.create(*this, host_, on_stop));
	mark_buffer_ = static_cast<uint32_t *>(ph_alloc(sizeof(uint32_t)));
	device_ = registry::get_device(ph_device_id(host_));
	if (mark_buffer_ == nullptr || device_ == nullptr)
		return Status::error(kENOMEM);
	return {};
}

void Target::limits(ploop_limits &limits) const
{
	limits.cluster_sectors = geometry_.cluster_sectors();
	limits.dio_align_bytes = image_.facts().dio_align_bytes;
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
	committer_.restart();
	stop_ = Stop::none;
	gate_.store_relaxed(0);
	mode_.store_relaxed(static_cast<uint8_t>(read_only_ ? Mode::ro : Mode::rw));
	publish_counters();
	ph_start(host_);
	running_ = true;
	return {};
}

Status Target::start(Text &error)
{
	if (failed()) {
		error << "the map could not be written; remove the device and check the image";
		return Status::error(kEIO);
	}
	if (!registry::hold(claim_)) {
		error << "the image is in use by another ploop device";
		return Status::error(kEBUSY);
	}
	if (claim_.lost) {
		// What the table before this one acknowledged is not there. Who is above
		// must not take this for the device that it was.
		mode_.store_relaxed(static_cast<uint8_t>(Mode::failed));
		error << "the map could not be written under the last table: remove the device "
			 "and check the image, or load the table again to go on without what was "
			 "lost";
		return Status::error(kEIO);
	}
	if (claim_.unwritten.present()) {
		// It stays in our keeping, for a writable table to take over.
		if (read_only_) {
			error << "changes of the map are unwritten: load a writable table first";
			return Status::error(kEROFS);
		}
		PLOOP_TRY(write_unwritten(error));
	} else if (!read_only_) {
		PLOOP_TRY(hear_of_earlier_writes(error));
	}
	PLOOP_TRY(image_.read_header(geometry_, virtual_sectors_, error));
	if (image_.bat_clusters() + 2 * uint64_t{image_.header().entries} > space_.limit()) {
		error << "BAT entries grew to " << image_.header().entries
		      << " since the table was loaded: load it again";
		return Status::error(kEAGAIN);
	}
	PLOOP_TRY(image_.read_map(map_, space_, error));
	return read_only_ ? Status() : mark_in_use(error);
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
	const Status status = Status::from(sync.run(PLOOP_OP_SYNC, image_.file(), 0, 0));
	if (status.ok() || status.no_space())
		return {};
	error << "an earlier write to the image failed; check it, and resume again";
	return status;
}

// What the last suspend could not write is written first: it is newer than what
// is on disk. If that fails, it is kept, and the next resume tries again.
Status Target::write_unwritten(Text &error)
{
	Status status = claim_.unwritten.write(host_, image_.file(), Image::kLevel);

	// The first time it may be told of what the instance before this one met.
	if (status.no_space())
		status = claim_.unwritten.write(host_, image_.file(), Image::kLevel);
	if (status.no_space() || status.code() == -kENOMEM) {
		error << "no space or memory to write the map; free some and resume again";
		return status;
	}
	if (!status.ok()) {
		error << "the map cannot be written; remove the device and check the image";
		// An error that a sync has told once is forgotten by the next one: no
		// other instance may take these entries over.
		mode_.store_relaxed(static_cast<uint8_t>(Mode::failed));
		claim_.unwritten.written();
		return status;
	}
	marked_by_us_ = claim_.unwritten.marked();
	if (map_.pages() == 0)
		claim_.unwritten.give_back(map_, committer_.hand_over());
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
		reserve.run(PLOOP_OP_RESERVE, image_.file(), 0,
			    uint64_t{map_.pages()} * kBatPageBytes);
	if (image_.header().in_use == kInUse)
		return {};
	const Status status = image_.write_in_use(kInUse);
	// Even if only its sync has failed, and the next resume finds it.
	marked_by_us_ = marked_by_us_ || image_.header().in_use == kInUse;
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
	suspending_.store_release(static_cast<uint8_t>(Suspending::none));
	signal(kSignalUndone);
}

// ---- Suspend ---------------------------------------------------------------

void Target::presuspend(bool noflush)
{
	suspending_.store_release(
		static_cast<uint8_t>(noflush ? Suspending::noflush : Suspending::flush));
	if (running_)
		signal(kSignalSuspend);
}

void Target::presuspend_undo()
{
	suspending_.store_release(static_cast<uint8_t>(Suspending::none));
	if (running_)
		signal(kSignalUndone);
}

void Target::postsuspend()
{
	if (!running_)
		return;
	ph_wait_init(&stop_wait_);
	signal(kSignalStop);
	ph_wait(&stop_wait_);
	ph_quiesce(host_);
	running_ = false;
	freer_.forget();
	if (failed()) {
		claim_.lost = true; // and keeps the image, until somebody was told
		return;
	}
	// A mark that could not be taken back is an unwritten change, too.
	if (stop_status_.ok() && !marked_by_us_)
		return registry::release(claim_);
	claim_.unwritten.keep(map_, committer_.hand_over(), marked_by_us_);
	ph_log(host_, PLOOP_LOG_ERROR,
	       "suspended with unwritten changes of the image: free space and resume; to remove "
	       "the device now loses them");
}

// Is nothing under way that the worker knows of? Mapped I/O it does not know:
// for that the epoch is flipped.
bool Target::quiet() const
{
	return ready_.empty() && writer_.idle() && walker_.idle() && !committer_.running() &&
	       !committer_.waiting() && outage_.holds_nothing() && low_space_.idle();
}

void Target::begin_stop()
{
	stop_ = Stop::quiet;
	outage_.suspend_ends();
}

void Target::advance_stop()
{
	switch (stop_) {
	case Stop::quiet:
		outage_.suspend_ends();
		if (!quiet())
			return;
		stop_ = Stop::drain;
		overwritten_ = false;
		freer_.want_drain();
		freer_.run();
		return;
	case Stop::drain:
		outage_.suspend_ends();
		if (freer_.drained())
			stop_drained();
		return;
	case Stop::commit:
		if (committer_.idle())
			stop_committed();
		return;
	case Stop::freeing:
		if (freer_.idle())
			stop_trim();
		return;
	case Stop::settle:
		if (freer_.settled())
			stop_done(stop_status_);
		return;
	case Stop::none:
	case Stop::trim:
	case Stop::mark:
	case Stop::sync:
	case Stop::done:
		return;
	}
}

void Target::stop_drained()
{
	// What was begun on mapped clusters meanwhile is in the new epoch.
	if (!quiet() || overwritten_) {
		stop_ = Stop::quiet;
		return ph_kick(host_);
	}
	if (read_only_)
		return stop_done({});
	if (failed())
		return stop_failed(Status::error(kEIO));
	stop_ = Stop::commit;
	committer_.want();
	committer_.run();
}

void Target::stop_committed()
{
	if (!committer_.last_status().ok())
		return stop_failed(committer_.last_status());
	stop_ = Stop::freeing;
	freer_.run();
	if (freer_.idle())
		stop_trim();
}

void Target::stop_trim()
{
	const uint64_t end = space_.taken_end() * geometry_.cluster_bytes();

	if (image_.facts().block_device || image_.larger_than(space_.limit()) ||
	    ph_file_size(image_.file()) <= end)
		return stop_mark();
	stop_ = Stop::trim;
	stop_operation_.start(PLOOP_OP_TRUNCATE, image_.file(), end, 0);
}

void Target::stop_mark()
{
	if (!marked_by_us_)
		return stop_sync();
	stop_ = Stop::mark;
	*mark_buffer_ = to_le32(kClosed);
	stop_operation_.start(PLOOP_OP_WRITE_BUFFERED, image_.file(), kInUseOffset,
			      sizeof(uint32_t), mark_buffer_);
}

void Target::stop_sync()
{
	stop_ = Stop::sync;
	stop_operation_.start(PLOOP_OP_SYNC, image_.file(), 0, 0);
}

// A tail that stays, or a mark, harms nobody: the data and the map are durable.
void Target::on_stop(Target &target, Operation &, int64_t result)
{
	switch (target.stop_) {
	case Stop::trim:
		return target.stop_mark();
	case Stop::mark:
		if (result == sizeof(uint32_t))
			target.marked_by_us_ = false;
		return target.stop_sync();
	case Stop::sync:
		return target.stop_done(Status::from(result));
	case Stop::none:
	case Stop::quiet:
	case Stop::drain:
	case Stop::commit:
	case Stop::freeing:
	case Stop::settle:
	case Stop::done:
		return;
	}
}

// What an earlier commit has freed is still on its way to the host.
void Target::stop_failed(Status status)
{
	stop_ = Stop::settle;
	stop_status_ = status;
	if (freer_.settled())
		stop_done(status);
}

// Nothing is newer in memory than in the file, which is whole.
bool Target::is_closed() const
{
	return committer_.dirty_pages() == 0 && freer_.idle() &&
	       (image_.facts().block_device ||
		ph_file_size(image_.file()) % geometry_.cluster_bytes() == 0);
}

void Target::stop_done(Status status)
{
	must_hold(!status.ok() || read_only_ || is_closed(), "7: suspended means consistent");
	stop_status_ = status;
	stop_ = Stop::done;
	publish_counters();
	outage_.report_ended();
	ph_wait_signal(&stop_wait_);
}

// ---- Modes -----------------------------------------------------------------

namespace {

const char *name_of(Mode mode)
{
	switch (mode) {
	case Mode::rw:
		return "rw";
	case Mode::nospace:
		return "nospace";
	case Mode::failed:
		return "failed";
	case Mode::ro:
		return "ro";
	}
	return "";
}

} // namespace

// Each change of the mode that somebody has to know of.
void Target::set_mode(Mode mode)
{
	if (this->mode() == mode || failed())
		return;
	mode_.store_release(static_cast<uint8_t>(mode));

	char line[160];
	Text text(line, sizeof(line));
	switch (mode) {
	case Mode::nospace:
		text << "out of space below the image: writes that need space wait; free some";
		break;
	case Mode::rw:
		text << "space is back: waiting writes go on";
		break;
	case Mode::failed:
		text << "the map could not be written, error "
		     << counters_.last_error.load_relaxed()
		     << ": every write and flush fails from now on";
		break;
	case Mode::ro:
		break;
	}
	ph_log(host_, mode == Mode::failed ? PLOOP_LOG_ERROR : PLOOP_LOG_WARNING, line);
	ph_event(host_);
}

void Target::fail(Status status)
{
	if (failed())
		return;
	counters_.last_error.store_relaxed(status.code());
	// The gate first: whoever learns of the failure finds it shut (invariant 4).
	gate_.store_release(-kEIO);
	set_mode(Mode::failed);
	outage_.retry_now();
}

void Target::open_gate()
{
	if (!failed())
		gate_.store_release(0);
}

void Target::raise_enospc()
{
	device_->enospc.raise();
	ph_event(host_);
}

void Target::raise_lowspace(uint64_t free_mib)
{
	char line[160];
	Text text(line, sizeof(line));

	text << "low on space below the image: " << free_mib << " MiB are left, low_water is "
	     << low_space_.mark_mib() << " MiB";
	ph_log(host_, PLOOP_LOG_WARNING, line);
	device_->lowspace.raise();
	ph_event(host_);
}

bool Target::extend_to_device()
{
	return image_.facts().block_device &&
	       space_.extend(geometry_.clusters_in(ph_file_size(image_.file())));
}

// ---- Status ----------------------------------------------------------------

void Target::status(ploop_status kind, Text &text) const
{
	const bool pending = device_->enospc.pending();

	if (kind == PLOOP_STATUS_IMA)
		text << "target_name=ploop,target_version=1.0.0,deltas=1,format=v2,cluster_sectors="
		     << geometry_.cluster_sectors() << ",mode=" << (read_only_ ? "ro" : "rw")
		     << ';';
	if (kind == PLOOP_STATUS_IMA)
		return;

	text << "1 v2 " << geometry_.cluster_sectors() << ' ';
	if (fallocate_new_.load_relaxed())
		text << 'f';
	if (pending)
		text << 's';
	if (!fallocate_new_.load_relaxed() && !pending)
		text << 'o';
	if (skip_sectors_ != 0)
		text << " off=" << skip_sectors_;
	if (kind == PLOOP_STATUS_TABLE)
		return;

	const uint64_t oldest = outage_.oldest_ms();
	text << " mode=" << name_of(mode()) << " used=" << counters_.used_clusters.load_relaxed()
	     << " total=" << geometry_.clusters_for_sectors(virtual_sectors_)
	     << " quarantined=" << counters_.quarantined.load_relaxed()
	     << " parked=" << outage_.nr_parked()
	     << " parked_oldest_ms=" << (oldest == 0 ? 0 : ph_now_ms() - oldest)
	     << " enospc_events=" << device_->enospc.raised()
	     << " retries=" << counters_.retries.load_relaxed()
	     << " retry_ms=" << retry_ms_.load_relaxed()
	     << " timeout_s=" << timeout_s_.load_relaxed()
	     << " policy=" << (error_if_no_space_.load_relaxed() ? "error" : "queue")
	     << " enospc_errors=" << outage_.nr_ended()
	     << " last_error=" << counters_.last_error.load_relaxed()
	     << " dirty_bat_pages=" << counters_.dirty_pages.load_relaxed();
	if (claim_.unwritten.present())
		text << " dirty-suspended";
	if (low_space_.mark_mib() != 0) {
		text << " low_water=" << low_space_.mark_mib() << " host_free_mib=";
		if (low_space_.free_mib() == ~uint64_t{0})
			text << '-';
		else
			text << low_space_.free_mib();
		text << " lowspace_events=" << device_->lowspace.raised();
	}
	if (pending)
		text << " event_ENOSPC";
	if (device_->lowspace.pending())
		text << " event_LOWSPACE";
}

void Target::publish_counters()
{
	counters_.used_clusters.store_relaxed(space_.nr_used());
	counters_.quarantined.store_relaxed(freer_.count());
	counters_.dirty_pages.store_relaxed(committer_.dirty_pages());
}

// ---- Messages --------------------------------------------------------------

int Target::image_name(Text &reply)
{
	constexpr size_t kPathBytes = 4096;
	char *path = static_cast<char *>(ph_alloc(kPathBytes));

	if (path == nullptr)
		return -kENOMEM;
	const int error = ph_file_path(image_.file(), path, kPathBytes);
	if (error == 0)
		reply << path << '\n';
	ph_free(path);
	return error == 0 ? 1 : error;
}

int Target::message(unsigned int argc, char **argv, Text &reply)
{
	uint64_t number = 0;

	if (argc < 1)
		return -kEINVAL;
	if (text_equal(argv[0], "get_event"))
		return argc == 1 ? get_event(reply) : -kEINVAL;
	if (text_equal(argv[0], "retry_enospc")) {
		if (argc != 1)
			return -kEINVAL;
		signal(kSignalRetryNow);
		return 0;
	}
	if (text_equal(argv[0], "set_falloc_new_clu")) {
		if (argc != 2 || !text_number(argv[1], 1, number))
			return -kEINVAL;
		fallocate_new_.store_relaxed(number != 0);
		return 0;
	}
	if (text_equal(argv[0], "get_img_name")) {
		if (argc != 2 || !text_number(argv[1], ~uint64_t{0} / 16, number))
			return -kEINVAL;
		if (number != 0)
			return 1; // an empty reply: there is no such level
		return image_name(reply);
	}
	return change_policy(argc, argv).code();
}

// Each of these acts at once on what waits.
Status Target::change_policy(unsigned int argc, char **argv)
{
	uint64_t number = 0;
	const bool one_word = argc == 1;
	const bool number_follows = argc == 2 && text_number(argv[1], ~0u, number);

	if (text_equal(argv[0], "enospc_retry_ms")) {
		if (!number_follows || number == 0 || number > kRetryMsMax)
			return Status::error(kEINVAL);
		retry_ms_.store_relaxed(static_cast<uint32_t>(number));
		signal(kSignalRetryNow);
	} else if (text_equal(argv[0], "enospc_timeout_s")) {
		if (!number_follows || number > kTimeoutSMax)
			return Status::error(kEINVAL);
		timeout_s_.store_relaxed(static_cast<uint32_t>(number));
		signal(kSignalExpire);
	} else if (text_equal(argv[0], "low_water")) {
		if (!number_follows || number > kLowWaterMibMax)
			return Status::error(kEINVAL);
		low_space_.set_mark_mib(static_cast<uint32_t>(number));
		signal(kSignalSpace);
	} else if (text_equal(argv[0], "error_if_no_space") ||
		   text_equal(argv[0], "queue_if_no_space")) {
		if (!one_word)
			return Status::error(kEINVAL);
		error_if_no_space_.store_relaxed(text_starts(argv[0], "error"));
		signal(kSignalPolicy);
	} else {
		return Status::error(kEOPNOTSUPP);
	}
	return {};
}

int Target::get_event(Text &reply)
{
	const EventLine<HostAtomics> lines[] = {
		{device_->enospc, "event_ENOSPC\n"},
		{device_->lowspace, "event_LOWSPACE\n"},
	};

	return tell_events(lines, reply) ? 1 : 0;
}

} // namespace ploop
