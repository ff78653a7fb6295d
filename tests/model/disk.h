/* SPDX-License-Identifier: Apache-2.0 */
/* Between the model's disks and what drives them. */
#ifndef MODEL_DISK_H
#define MODEL_DISK_H

#include "world.h"

void model_perform(struct model_world *w, uint32_t site,
		   const struct hvri_action *action);
struct model_point *model_find(struct model_site *site,
			       const struct hvri_point *id);
void model_data_arrives(struct model_world *w, uint32_t site,
			const struct model_message *message);
/* From `site` to the other one, if there is a session. */
void model_send(struct model_world *w, uint32_t site,
		const struct hvri_message *message);
void model_send_data(struct model_world *w, uint32_t site); /* Its open cut. */
#endif
