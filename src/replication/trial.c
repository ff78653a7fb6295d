/* SPDX-License-Identifier: Apache-2.0 */
/* A trial of a session, as decided at both its ends: see trial.h. */
#include "replication/trial.h"

#include "base/rc.h"

#define MS_NS 1000000ull

static struct hvri_trial_update asked(struct hvri_trial_host *host,
				      const struct hvri_trial_event *event)
{
	struct hvri_trial_update update = { .code = HVREPL_OK };

	if (event->rested_ns < HVRI_TRIAL_PAUSE_NS) {
		update.wait_ms = (uint32_t)((HVRI_TRIAL_PAUSE_NS -
					     event->rested_ns) / MS_NS + 1);
	} else if (host->state == HVRI_TRIAL_OPEN ||
		   host->state == HVRI_TRIAL_RUNNING) {
		/* Of a session whose entry was made anew meanwhile. */
		update.wait_ms = (uint32_t)(HVRI_TRIAL_HOST_NS / MS_NS);
	} else if (event->bytes > 0) {
		*host = (struct hvri_trial_host){
			.state = HVRI_TRIAL_OPEN,
			.number = event->number,
			.granted = event->bytes,
		};
		update.lent = event->bytes;
		update.deadline_ns = event->now_ns + HVRI_TRIAL_HOST_NS;
	}
	return update;
}

static void end(struct hvri_trial_host *host, uint64_t now_ns, uint8_t state,
		struct hvri_trial_update *update)
{
	update->has_result = true;
	update->result = (struct hvri_trial_result){
		.number = host->number,
		.bytes = host->came,
		.ns = host->began_ns == 0 ?
			      0 :
			      HVRI_MAX(now_ns - host->began_ns, 1),
	};
	update->returned = host->granted;
	update->deadline_ns = UINT64_MAX;
	host->state = state;
}

static int32_t check(const struct hvri_trial_host *host,
		     const struct hvri_trial_data *data)
{
	if (host->state == HVRI_TRIAL_CLOSED || data->number != host->number)
		return HVREPL_E_PROTOCOL;
	if ((data->part == HVRI_TRIAL_BEGIN) != (host->began_ns == 0))
		return HVREPL_E_PROTOCOL;
	return data->length > host->granted - host->came ? HVREPL_E_PROTOCOL :
							   HVREPL_OK;
}

static void came(struct hvri_trial_host *host,
		 const struct hvri_trial_event *event,
		 struct hvri_trial_update *update)
{
	const struct hvri_trial_data *data = &event->data;

	update->code = check(host, data);
	if (update->code < 0)
		return;
	switch (data->part) {
	case HVRI_TRIAL_BEGIN:
		host->began_ns = HVRI_MAX(event->now_ns, 1);
		if (host->state == HVRI_TRIAL_OPEN)
			host->state = HVRI_TRIAL_RUNNING;
		break;
	case HVRI_TRIAL_FILLER:
		host->came += data->length;
		break;
	default:
		if (host->state == HVRI_TRIAL_LATE)
			host->state = HVRI_TRIAL_CLOSED;
		else
			end(host, event->now_ns, HVRI_TRIAL_CLOSED, update);
	}
}

struct hvri_trial_update
hvri_trial_host_step(struct hvri_trial_host *host,
		     const struct hvri_trial_event *event)
{
	struct hvri_trial_update update = { .code = HVREPL_OK };
	bool lent = host->state == HVRI_TRIAL_OPEN ||
		    host->state == HVRI_TRIAL_RUNNING;

	switch (event->type) {
	case HVRI_TRIAL_ASKED:
		update = asked(host, event);
		break;
	case HVRI_TRIAL_CAME:
		came(host, event, &update);
		break;
	case HVRI_TRIAL_DUE:
		if (lent)
			end(host, event->now_ns, HVRI_TRIAL_LATE, &update);
		break;
	default:
		update.returned = lent ? host->granted : 0;
		update.deadline_ns = UINT64_MAX;
		host->state = HVRI_TRIAL_CLOSED;
	}
	return update;
}

void hvri_trial_asker_begin(struct hvri_trial_asker *asker,
			    const struct hvri_trial_ask *ask, uint64_t now_ns)
{
	*asker = (struct hvri_trial_asker){
		.state = HVRI_TRIAL_ASKING,
		.number = ask->number,
		.wanted = ask->bytes,
		.asked_ns = now_ns,
	};
}

int32_t hvri_trial_asker_answered(struct hvri_trial_asker *asker,
				  const struct hvri_trial_answer *answer,
				  uint64_t now_ns)
{
	if (answer->number < asker->number)
		return HVREPL_OK;
	if (answer->number != asker->number ||
	    asker->state != HVRI_TRIAL_ASKING || answer->bytes > asker->wanted)
		return HVREPL_E_PROTOCOL;
	asker->round_trip_ns = HVRI_MAX(now_ns - asker->asked_ns, 1);
	asker->granted = answer->bytes;
	asker->until_ns = now_ns + HVRI_TRIAL_SEND_NS;
	asker->state = answer->bytes > 0 ? HVRI_TRIAL_SENDING : HVRI_TRIAL_DONE;
	return HVREPL_OK;
}

bool hvri_trial_asker_pull(struct hvri_trial_asker *asker, uint64_t now_ns,
			   struct hvri_trial_data *data_out)
{
	struct hvri_trial_data data = { .number = asker->number };

	if (asker->state != HVRI_TRIAL_SENDING)
		return false;
	if (!asker->begun) {
		asker->begun = true;
		data.part = HVRI_TRIAL_BEGIN;
	} else if (asker->sent < asker->granted && now_ns < asker->until_ns) {
		data.part = HVRI_TRIAL_FILLER;
		data.length = (uint32_t)HVRI_MIN(asker->granted - asker->sent,
						 HVRI_TRIAL_FILLER_MAX);
		asker->sent += data.length;
	} else {
		data.part = HVRI_TRIAL_END;
		asker->state = HVRI_TRIAL_COUNTING;
	}
	*data_out = data;
	return true;
}

int32_t hvri_trial_asker_counted(struct hvri_trial_asker *asker,
				 const struct hvri_trial_result *result)
{
	if (result->number < asker->number)
		return HVREPL_OK;
	if (result->number != asker->number ||
	    (asker->state != HVRI_TRIAL_SENDING &&
	     asker->state != HVRI_TRIAL_COUNTING) ||
	    result->bytes > asker->sent)
		return HVREPL_E_PROTOCOL;
	asker->bytes = result->bytes;
	asker->ns = result->ns;
	asker->state = HVRI_TRIAL_DONE;
	return HVREPL_OK;
}

void hvri_trial_asker_gone(struct hvri_trial_asker *asker, int32_t code)
{
	asker->code = code;
	asker->state = HVRI_TRIAL_DONE;
}
