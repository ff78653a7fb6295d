/* SPDX-License-Identifier: Apache-2.0 */
/* hvrepl: everything public, in one include. Headers are C99 and C++11. */
#ifndef HVREPL_HVREPL_H
#define HVREPL_HVREPL_H

#include <hvrepl/audit.h>
#include <hvrepl/authenticator.h>
#include <hvrepl/authorisation.h>
#include <hvrepl/channel.h>
#include <hvrepl/cut.h>
#include <hvrepl/disk.h>
#include <hvrepl/env.h>
#include <hvrepl/error.h>
#include <hvrepl/event.h>
#include <hvrepl/guest.h>
#include <hvrepl/inspect.h>
#include <hvrepl/log.h>
#include <hvrepl/node.h>
#include <hvrepl/relationship.h>
#include <hvrepl/state.h>
#include <hvrepl/storage.h>
#include <hvrepl/store.h>
#include <hvrepl/tracker.h>
#include <hvrepl/types.h>
#include <hvrepl/version.h>

#endif
