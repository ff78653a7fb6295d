/* SPDX-License-Identifier: Apache-2.0 */
/* What an audit has to hear of, as events that are never dropped. */
#include "driver/node.h"

#include <stdarg.h>
#include <stdio.h>

void hvri_note(struct hvrepl_node *node, uint32_t kind, uint32_t severity,
	       int32_t code, const struct hvrepl_uuid *vm, const char *format,
	       ...)
{
	struct hvrepl_event event = HVREPL_EVENT_INIT;
	va_list args;

	event.type = HVREPL_EVENT_AUDIT;
	event.value = kind;
	event.severity = severity;
	event.code = code;
	if (vm != NULL)
		event.vm = *vm;
	va_start(args, format);
	vsnprintf(event.sentence, sizeof(event.sentence), format, args);
	va_end(args);
	hvri_node_event(node, &event);
}
