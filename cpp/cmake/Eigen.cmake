# Provides the target bptt_eigen: the headers of Eigen 5, threads off.
#
# The build requirement `eigency` carries them. With build isolation its site-packages are on
# CMAKE_PREFIX_PATH, without it they are Python's own. A CMake package of Eigen will do as well.
find_path(
  EIGEN_INCLUDE_DIR Eigen/Version # new in Eigen 5
  HINTS ${CMAKE_PREFIX_PATH} ${Python_SITELIB}
  PATH_SUFFIXES eigency/eigen
  NO_DEFAULT_PATH)

# An imported target, so that its headers are system headers: no warnings from them.
add_library(bptt_eigen INTERFACE IMPORTED)
# Threads are ours.
target_compile_definitions(bptt_eigen INTERFACE EIGEN_DONT_PARALLELIZE)
if(EIGEN_INCLUDE_DIR)
  message(STATUS "Eigen: ${EIGEN_INCLUDE_DIR}")
  target_include_directories(bptt_eigen INTERFACE "${EIGEN_INCLUDE_DIR}")
  if(DEFINED SKBUILD_METADATA_DIR)
    foreach(file README MPL2 APACHE BSD)
      install(FILES "${EIGEN_INCLUDE_DIR}/COPYING.${file}" OPTIONAL
              DESTINATION ${SKBUILD_METADATA_DIR}/licenses/eigen)
    endforeach()
  endif()
else()
  find_package(Eigen3 5 CONFIG)
  if(NOT Eigen3_FOUND)
    message(FATAL_ERROR "bptt needs the headers of Eigen 5: "
                        "pip install eigency==5.0.1.1, or point Eigen3_DIR at an Eigen 5")
  endif()
  message(STATUS "Eigen: ${Eigen3_DIR}")
  target_link_libraries(bptt_eigen INTERFACE Eigen3::Eigen)
endif()
