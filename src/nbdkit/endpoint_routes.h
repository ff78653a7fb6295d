/* SPDX-License-Identifier: Apache-2.0 */
/* Routes of the control interface that ask the node. */
#ifndef SITE_ENDPOINT_ROUTES_H
#define SITE_ENDPOINT_ROUTES_H

#include "control.h"
#include "endpoint.h"

/* Answer `request` with run() on the control thread. */
void endpoint_request(struct endpoint *endpoint,
		      struct control_request *request,
		      void (*run)(struct endpoint *endpoint,
				  struct control_request *request));

/* Control thread. */
json_t *endpoint_vms_json(struct endpoint *endpoint);
json_t *endpoint_peers_json(struct endpoint *endpoint);

/* GET /v1/vms/{vm} */
void endpoint_get_vm(struct endpoint *endpoint,
		     struct control_request *request);
/* GET /v1/vms/{vm}/points */
void endpoint_get_points(struct endpoint *endpoint,
			 struct control_request *request);
/* GET /v1/vms/{vm}/measure */
void endpoint_get_measure(struct endpoint *endpoint,
			  struct control_request *request);
/* GET /v1/vms/{vm}/wait?state=&ownership=&point=&timeout_ms= */
void endpoint_get_wait(struct endpoint *endpoint,
		       struct control_request *request);
/* POST /v1/vms/{vm}/operations {"operation","peer","point","epoch"} */
void endpoint_post_operation(struct endpoint *endpoint,
			     struct control_request *request);
/* POST /v1/vms/{vm}/cut */
void endpoint_post_cut(struct endpoint *endpoint,
		       struct control_request *request);
/* GET /v1/jobs/{job}?wait_ms= */
void endpoint_get_job(struct endpoint *endpoint,
		      struct control_request *request);
/* POST /v1/peers/{peer*}/test */
void endpoint_post_test(struct endpoint *endpoint,
			struct control_request *request);
/* POST /v1/reload; in reload.c. */
void endpoint_post_reload(struct endpoint *endpoint,
			  struct control_request *request);

#endif
