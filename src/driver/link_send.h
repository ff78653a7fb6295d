/* SPDX-License-Identifier: Apache-2.0 */
/* The sending half of a link, for its other half only. */
#ifndef HVRI_DRIVER_LINK_SEND_H
#define HVRI_DRIVER_LINK_SEND_H

#include "driver/link.h"

void hvri_link_send_init(struct hvri_link *link);
/* Start a send when none is under way and something waits. */
void hvri_link_pump(struct hvri_link *link);
/* Nothing more will be sent: forget what waits, tell the sources. */
void hvri_link_drop_output(struct hvri_link *link);
/* From the sending half: something ended. */
void hvri_link_settled(struct hvri_link *link);
#endif
